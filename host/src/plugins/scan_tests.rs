//! The rules of the scan, one by one, and then all of them against random sequences of events.

use std::collections::BTreeMap;
use std::time::Duration;

use proptest::prelude::*;

use super::*;

#[path = "scan_world.rs"]
mod world;

use world::{GONE, SETTLE, World};

/// A world in which `a.wasm` runs as `x 1`.
fn with_a() -> World {
    let mut world = World::new();
    world.rename_in("a.wasm", "x 1");
    world.look(1);
    assert_eq!(world.done(), ["load a: x 1"]);
    world
}

#[test]
fn a_file_that_was_renamed_in_is_taken_at_the_first_look() {
    let mut world = with_a();
    world.rename_in("a.wasm", "x 2");
    world.look(1);
    assert_eq!(world.done(), ["swap a: x 2"]);
}

/// Inodes are used again, and two replacements can fall into one tick of the file system's clock.
#[test]
fn a_file_that_was_renamed_in_is_read_even_if_it_looks_like_the_one_before() {
    let mut world = with_a();
    let before = world.files["a.wasm"].stamp;
    world.rename_in("a.wasm", "x 2");
    world.files.get_mut("a.wasm").unwrap().stamp = before;
    world.look(1);
    assert_eq!(world.done(), ["swap a: x 2"]);
}

#[test]
fn a_file_that_is_written_in_place_is_taken_when_two_looks_apart_agree() {
    let mut world = World::new();
    world.write("a.wasm", "x 1");
    world.look(1);
    assert_eq!(world.scan.wake(), Some(Duration::from_millis(1 + SETTLE)));
    world.look(SETTLE - 1);
    assert!(world.done().is_empty());
    world.write("a.wasm", "x 12");
    world.look(SETTLE);
    assert!(world.done().is_empty(), "it was still changing");
    world.look(SETTLE);
    assert_eq!(world.done(), ["load a: x 12"]);
    assert_eq!(world.scan.wake(), None);
}

#[test]
fn a_file_without_its_end_is_waited_for_and_then_refused() {
    let mut world = with_a();
    world.write("a.wasm", "cut");
    world.look(1);
    world.look(SETTLE);
    assert_eq!((world.done(), world.reason("a")), (vec![], String::new()));
    world.write("a.wasm", "x 2");
    world.look(1);
    world.look(SETTLE);
    assert_eq!(world.done(), ["swap a: x 2"]);
    world.write("a.wasm", "cut");
    world.look(1);
    world.look(SETTLE);
    world.look(500);
    assert_eq!(
        world.done(),
        ["swap a: cut"],
        "the host is asked, to have it on record"
    );
    assert_eq!(world.reason("a"), "failed");
}

#[test]
fn the_same_content_again_is_nothing() {
    let mut world = with_a();
    world.rename_in("a.wasm", "x 1");
    world.look(1);
    assert!(world.done().is_empty());
}

#[test]
fn a_file_that_comes_back_in_time_is_a_swap() {
    let mut world = with_a();
    world.delete("a.wasm");
    world.look(1);
    world.look(GONE - 1);
    assert!(world.done().is_empty());
    world.rename_in("a.wasm", "x 2");
    world.look(1);
    assert_eq!(world.done(), ["swap a: x 2"]);
}

#[test]
fn a_file_that_stays_away_is_a_stop() {
    let mut world = with_a();
    world.delete("a.wasm");
    world.look(1);
    assert_eq!(world.scan.wake(), Some(Duration::from_millis(2 + GONE)));
    world.look(GONE);
    assert_eq!(world.done(), ["stop a", "forget a"]);
    world.rename_in("a.wasm", "x 1");
    world.look(1);
    assert_eq!(world.done(), ["load a: x 1"]);
}

#[test]
fn a_file_that_comes_back_while_it_is_being_stopped_is_loaded_again() {
    let mut world = with_a();
    let away = world.files.remove("a.wasm").unwrap();
    world.glance(1);
    world.glance(GONE);
    assert_eq!(world.done(), ["stop a"]);
    world.files.insert("a.wasm".to_owned(), away);
    world.glance(1);
    world.look(SETTLE);
    assert_eq!(world.done(), ["load a: x 1"]);
}

#[test]
fn an_unreadable_directory_says_nothing_about_its_files() {
    let mut world = with_a();
    for at in [10, 20_000] {
        let at = Duration::from_millis(at);
        assert!(world.scan.look(Look { at, files: None }).is_empty());
    }
    assert!(world.scan.plugin("a").unwrap().runs.is_some());
}

#[test]
fn a_renamed_plugin_goes_on_under_its_new_name() {
    let mut world = with_a();
    world.rename("a.wasm", "b.wasm");
    world.look(1);
    world.look(GONE);
    assert_eq!(world.done(), ["forget a"], "neither stop nor load");
    assert!(world.scan.plugin("b").unwrap().runs.is_some());
}

#[test]
fn the_second_file_with_a_name_waits_for_the_first_to_go() {
    let mut world = with_a();
    world.rename_in("b.wasm", "x 2");
    world.look(1);
    assert!(world.done().is_empty());
    assert!(
        world
            .reason("b")
            .contains("endpoint `x` belongs to `a.wasm`"),
        "{}",
        world.reason("b")
    );
    world.delete("a.wasm");
    world.look(1);
    world.look(GONE);
    assert_eq!(world.done(), ["stop a", "forget a", "load b: x 2"]);
}

#[test]
fn a_refused_content_is_not_tried_again_until_file_or_sidecar_differ() {
    let mut world = with_a();
    world.rename_in("a.wasm", "x trap");
    world.look(1);
    assert_eq!(world.done(), ["swap a: x trap"]);
    world.rename_in("a.wasm", "x trap");
    world.look(1);
    assert!(world.done().is_empty(), "touched, not changed");
    world.rename_in("a.toml", "[config]\na = 1");
    world.look(1);
    assert_eq!(world.done(), ["swap a: x trap"]);
    world.rename_in("a.wasm", "x 1");
    world.look(1);
    assert_eq!(world.done(), ["resettle a: [\"x\"]"]);
    assert_eq!(world.reason("a"), "");
}

#[test]
fn a_changed_sidecar_resettles_and_a_changed_comment_does_not() {
    let mut world = with_a();
    world.rename_in("a.toml", "endpoints = ['x', 'y']");
    world.look(1);
    assert_eq!(world.done(), [r#"resettle a: ["x", "y"]"#]);
    world.rename_in("a.toml", "endpoints = ['x', 'y'] # two");
    world.look(1);
    assert!(world.done().is_empty());
}

#[test]
fn a_bad_sidecar_changes_nothing_that_runs() {
    let mut world = with_a();
    world.rename_in("a.toml", "nonsense = 1");
    world.rename_in("a.wasm", "x 2");
    world.look(1);
    assert!(world.done().is_empty());
    assert!(
        world
            .reason("a")
            .starts_with("a.toml: unknown key `nonsense`")
    );
    world.rename_in("a.toml", "");
    world.look(1);
    assert_eq!(world.done(), ["swap a: x 2"]);
}

#[test]
fn a_sidecar_that_is_put_aside_for_a_moment_keeps_its_settings() {
    let mut world = with_a();
    world.rename_in("a.toml", "endpoints = ['y']");
    world.look(1);
    assert_eq!(world.done(), [r#"resettle a: ["y"]"#]);
    world.delete("a.toml");
    world.look(1);
    world.rename_in("a.toml", "endpoints = ['y']");
    world.look(1);
    assert!(world.done().is_empty());
    world.delete("a.toml");
    world.look(1);
    world.look(GONE);
    assert_eq!(world.done(), [r#"resettle a: ["x"]"#]);
}

#[test]
fn a_sidecar_without_a_component_is_nothing() {
    let mut world = World::new();
    world.rename_in("a.toml", "nonsense");
    world.look(1);
    assert!(world.scan.plugin("a").is_none());
}

#[test]
fn a_file_that_calls_itself_otherwise_does_not_replace_an_endpoint_by_another() {
    let mut world = with_a();
    world.rename_in("a.wasm", "z 2");
    world.look(1);
    assert!(world.done().is_empty());
    assert!(world.reason("a").contains("now calls itself `z`"));
    world.rename_in("a.toml", "endpoints = ['x']");
    world.look(1);
    assert_eq!(world.done(), ["swap a: z 2"]);
}

#[test]
fn plugins_beyond_the_limit_are_left_out_until_there_is_room() {
    let mut world = World::new();
    for name in ["a", "b", "c", "d"] {
        world.rename_in(&format!("{name}.wasm"), &format!("{name} 1"));
    }
    world.look(1);
    assert_eq!((world.done().len(), world.scan.beyond_limit()), (3, 1));
    world.delete("b.wasm");
    world.look(1);
    world.look(GONE);
    world.look(1);
    world.look(SETTLE);
    assert_eq!(world.done(), ["stop b", "forget b", "load d: d 1"]);
}

#[test]
fn what_changes_during_a_swap_is_taken_after_it() {
    let mut world = with_a();
    world.rename_in("a.wasm", "x 2");
    world.glance(1);
    assert!(world.finish_one(), "read");
    for version in ["x 3", "x 4"] {
        world.rename_in("a.wasm", version);
        world.glance(1);
    }
    assert_eq!(world.done(), ["swap a: x 2"]);
    while world.finish_one() {}
    assert_eq!(world.done(), ["swap a: x 4"]);
}

#[test]
fn a_file_that_changes_while_it_is_read_is_read_anew() {
    let mut world = with_a();
    world.rename_in("a.wasm", "x 2");
    world.glance(1);
    world.rename_in("a.wasm", "x 3");
    world.look(1);
    assert_eq!(world.done(), ["swap a: x 3"]);
}

#[test]
fn a_stopped_plugin_stays_stopped_until_its_file_changes() {
    let mut world = with_a();
    assert!(world.scan.reserve("a"));
    world.host.clear();
    let (now, wrote, mark) = (None, None, Mark::Held);
    let acted = Acted { now, wrote, mark };
    assert!(
        world
            .scan
            .acted("a", acted, Duration::from_millis(2))
            .is_empty()
    );
    world.rename_in("a.wasm", "x 1");
    world.look(1);
    assert!(world.done().is_empty(), "touched, not changed");
    world.rename_in("a.wasm", "x 2");
    world.look(1);
    assert_eq!(world.done(), ["load a: x 2"]);
}

#[derive(Clone, Debug)]
enum Event {
    Put(&'static str, &'static str, bool),
    Delete(&'static str),
    Rename(&'static str, &'static str),
    Look(u64),
    FinishOne,
}

fn event() -> impl Strategy<Value = Event> {
    let wasm = || prop::sample::select(vec!["a.wasm", "b.wasm", "c.wasm"]);
    let toml = || prop::sample::select(vec!["a.toml", "b.toml"]);
    let content = prop::sample::select(vec!["x 1", "x 2", "y 1", "y 2", "x trap", "bad", "cut"]);
    let settings = prop::sample::select(vec![
        "",
        "nonsense",
        "endpoints = ['x', 'z']",
        "[config]\nk = 1",
    ]);
    prop_oneof![
        4 => (wasm(), content, any::<bool>()).prop_map(|(name, text, whole)| Event::Put(name, text, whole)),
        2 => (toml(), settings, any::<bool>()).prop_map(|(name, text, whole)| Event::Put(name, text, whole)),
        1 => wasm().prop_map(Event::Delete),
        1 => toml().prop_map(Event::Delete),
        1 => (wasm(), wasm()).prop_map(|(from, to)| Event::Rename(from, to)),
        4 => (0u64..1500).prop_map(Event::Look),
        6 => Just(Event::FinishOne),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    /// Whatever happened: in the end what runs is what lies there, or it is said why not.
    #[test]
    fn what_runs_becomes_what_lies_there(events in prop::collection::vec(event(), 1..60)) {
        let mut world = World::new();
        for event in events {
            match event {
                Event::Put(name, content, renamed_in) => world.put(name, content, renamed_in),
                Event::Delete(name) => world.delete(name),
                Event::Rename(from, to) => world.rename(from, to),
                Event::Look(wait) => world.glance(wait),
                Event::FinishOne => { world.finish_one(); }
            }
            world.check();
        }
        for _ in 0..12 {
            world.look(GONE);
            world.check();
        }
        world.done();
        world.look(GONE);
        prop_assert!(world.done().is_empty(), "it comes to rest");

        let mut expected_host = BTreeMap::new();
        for (name, plugin) in world.scan.plugins() {
            let file = world.files.get(&format!("{name}.wasm"));
            prop_assert!(file.is_some(), "{} is gone and still known", name);
            match &plugin.runs {
                Some(runs) if plugin.refused.is_none() => {
                    prop_assert_eq!(&runs.digest, &file.unwrap().content);
                }
                _ => prop_assert!(plugin.refused.is_some(), "{} neither runs nor says why", name),
            }
            for endpoint in plugin.runs.iter().flat_map(|runs| &runs.endpoints) {
                expected_host.insert(endpoint.clone(), plugin.runs.clone().unwrap().digest);
            }
            // A name that is refused because it is taken is really taken.
            if let Some(holder) = &plugin.blocked_by {
                let holder = world.scan.plugin(holder).and_then(|holder| holder.runs.as_ref());
                prop_assert!(holder.is_some(), "{} waits for nobody", name);
            }
        }
        prop_assert_eq!(&world.host, &expected_host);
        for name in world.files.keys().filter_map(|name| name.strip_suffix(".wasm")) {
            prop_assert!(world.scan.plugin(name).is_some(), "{} is not known", name);
        }
    }
}

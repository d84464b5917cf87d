//! Which executors go where.

use super::{App, MasterUnderTest, Worker};

/// An application, and the cores that it gets on three workers of 10 cores and 512 MB each, most first.
type Case = (fn(App) -> App, [u32; 3]);

fn check(master: &mut impl MasterUnderTest, spread_out: &str, cases: &[Case]) {
    for (number, (described, expected)) in cases.iter().enumerate() {
        master.start(&[("spread_out_apps", spread_out)]).unwrap();
        let workers = ["a", "b", "c"].map(|id| {
            let host = u16::from(id.as_bytes()[0]);
            let worker = Worker::new(master, id, host, 10, 512);
            worker.register(master);
            worker
        });
        let app = App::new(master, "app", 1);
        let app = described(app).register(master);

        let mut used = workers.clone().map(|worker| worker.seen(master).cores_used);
        used.sort_unstable_by(|left, right| right.cmp(left));
        assert_eq!(used, *expected, "case {number}");
        let seen = app.seen(master);
        assert_eq!(seen.cores_granted, expected.iter().sum::<u32>());
        // Each worker was told, and told of the memory that is counted.
        for worker in &workers {
            let info = worker.seen(master);
            let launches = worker.launched(master, info.executors.len());
            let memory: u32 = launches.iter().map(|launch| launch.memory_mb).sum();
            let cores: u32 = launches.iter().map(|launch| launch.cores).sum();
            assert_eq!((memory, cores), (info.memory_used_mb, info.cores_used));
        }
    }
}

macro_rules! vectors {
    ($($(#[$about:meta])* $spread_out:ident, $consolidate:ident: [$(($app:expr, $spread:expr, $packed:expr),)+];)+) => {
        $(
            $(#[$about])*
            pub fn $spread_out(master: &mut impl MasterUnderTest) {
                check(master, "true", &[$(($app, $spread),)+]);
            }

            $(#[$about])*
            pub fn $consolidate(master: &mut impl MasterUnderTest) {
                check(master, "false", &[$(($app, $packed),)+]);
            }
        )+
    };
}

vectors! {
    /// M1, M2: an application without limits gets all cores.
    without_limits_spread_out, without_limits_consolidated: [
        (|app| app, [10, 10, 10], [10, 10, 10]),
    ];
    /// M3, M4: so does one that needs more memory, as long as there is enough for one executor each.
    with_more_memory_spread_out, with_more_memory_consolidated: [
        (|app| app.memory(384), [10, 10, 10], [10, 10, 10]),
    ];
    /// M5, M6: not more cores than it wants.
    with_max_cores_spread_out, with_max_cores_consolidated: [
        (|app| app.max(8), [3, 3, 2], [8, 0, 0]),
        (|app| app.max(16), [6, 5, 5], [10, 6, 0]),
    ];
    /// M7, M8: with cores for each executor, memory or cores bound how many fit.
    with_cores_per_executor_spread_out, with_cores_per_executor_consolidated: [
        (|app| app.cores(2), [8, 8, 8], [8, 8, 8]),
        (|app| app.memory(32).cores(2), [10, 10, 10], [10, 10, 10]),
        (|app| app.memory(32).cores(3), [9, 9, 9], [9, 9, 9]),
    ];
    /// M9, M10: both.
    with_cores_per_executor_and_max_cores_spread_out,
    with_cores_per_executor_and_max_cores_consolidated: [
        (|app| app.memory(32).cores(2).max(4), [2, 2, 0], [4, 0, 0]),
        (|app| app.memory(32).cores(2).max(20), [8, 6, 6], [10, 10, 0]),
        (|app| app.memory(32).cores(3).max(20), [6, 6, 6], [9, 9, 0]),
    ];
    /// M11, M12: not more executors than it wants.
    with_executor_limit_spread_out, with_executor_limit_consolidated: [
        (|app| app.memory(32).limit(0), [0, 0, 0], [0, 0, 0]),
        (|app| app.memory(32).limit(2), [10, 10, 0], [10, 10, 0]),
        (|app| app.memory(32).limit(5), [10, 10, 10], [10, 10, 10]),
    ];
    /// M13, M14: limits of executors and of cores.
    with_executor_limit_and_max_cores_spread_out,
    with_executor_limit_and_max_cores_consolidated: [
        (|app| app.memory(32).limit(0).max(16), [0, 0, 0], [0, 0, 0]),
        (|app| app.memory(32).limit(2).max(16), [8, 8, 0], [10, 6, 0]),
        (|app| app.memory(32).limit(5).max(16), [6, 5, 5], [10, 6, 0]),
    ];
    /// M15, M16: a limit of executors, with cores for each.
    with_executor_limit_and_cores_per_executor_spread_out,
    with_executor_limit_and_cores_per_executor_consolidated: [
        (|app| app.memory(32).cores(4).limit(0), [0, 0, 0], [0, 0, 0]),
        (|app| app.memory(32).cores(4).limit(2), [4, 4, 0], [8, 0, 0]),
        (|app| app.memory(32).cores(4).limit(5), [8, 8, 4], [8, 8, 4]),
    ];
    /// M17, M18: all three.
    with_all_limits_spread_out, with_all_limits_consolidated: [
        (|app| app.memory(32).cores(4).limit(0).max(18), [0, 0, 0], [0, 0, 0]),
        (|app| app.memory(32).cores(4).limit(2).max(18), [4, 4, 0], [8, 0, 0]),
        (|app| app.memory(32).cores(4).limit(5).max(18), [8, 4, 4], [8, 8, 0]),
    ];
}

/// Three workers, and an application of two executors of 2 cores each; the workers that it goes to.
fn selected(master: &mut impl MasterUnderTest, policy: &str, spread_out: &str) -> Vec<String> {
    let config = [
        ("worker_selection_policy", policy),
        ("spread_out_apps", spread_out),
    ];
    master.start(&config).unwrap();
    for (id, host, cores, memory_mb) in [
        ("10001", 11, 5, 1280),
        ("10002", 12, 6, 5120),
        ("10003", 13, 7, 3840),
    ] {
        Worker::new(master, id, host, cores, memory_mb).register(master);
    }
    let app = App::new(master, "app", 1).memory(512).cores(2).max(4);
    let app = app.register(master);
    let seen = app.seen(master);
    assert_eq!(seen.executors.len(), 2);
    let mut workers: Vec<String> = seen
        .executors
        .into_iter()
        .map(|executor| executor.worker_id)
        .collect();
    workers.sort();
    workers.dedup();
    workers
}

fn check_selection(
    master: &mut impl MasterUnderTest,
    policy: &str,
    spread_out: &[&str],
    packed: &[&str],
) {
    assert_eq!(selected(master, policy, "true"), spread_out);
    assert_eq!(selected(master, policy, "false"), packed);
}

/// MS1.
pub fn workers_with_fewest_free_cores_come_first(master: &mut impl MasterUnderTest) {
    check_selection(master, "CORES_FREE_ASC", &["10001", "10002"], &["10001"]);
}

/// MS2.
pub fn workers_with_most_free_cores_come_first(master: &mut impl MasterUnderTest) {
    check_selection(master, "CORES_FREE_DESC", &["10002", "10003"], &["10003"]);
}

/// MS3.
pub fn workers_with_least_free_memory_come_first(master: &mut impl MasterUnderTest) {
    check_selection(master, "MEMORY_FREE_ASC", &["10001", "10003"], &["10001"]);
}

/// MS4.
pub fn workers_with_most_free_memory_come_first(master: &mut impl MasterUnderTest) {
    check_selection(master, "MEMORY_FREE_DESC", &["10002", "10003"], &["10002"]);
}

/// MS5.
pub fn workers_come_in_order_of_id(master: &mut impl MasterUnderTest) {
    check_selection(master, "WORKER_ID", &["10001", "10002"], &["10001"]);
}

/// Who came first is served first, and what is left goes to the next.
pub fn applications_are_served_in_order_of_registration(master: &mut impl MasterUnderTest) {
    master.start(&[]).unwrap();
    let first = App::new(master, "first", 1).max(6).register(master);
    let second = App::new(master, "second", 2).max(6).register(master);
    Worker::new(master, "a", 10, 10, 4096).register(master);
    let granted = [&first, &second].map(|app| app.seen(master).cores_granted);
    assert_eq!(granted, [6, 4]);

    // What the first one frees goes to the second one, which wants it since long.
    first.unregister(master);
    assert_eq!(second.seen(master).cores_granted, 6);
}

/// Only what could have become possible is looked at; nothing that is possible is missed.
pub fn a_core_that_is_freed_is_used_by_whoever_waits(master: &mut impl MasterUnderTest) {
    master.start(&[("default_cores", "4")]).unwrap();
    let worker = Worker::new(master, "a", 10, 4, 512);
    worker.register(master);
    let greedy = App::new(master, "greedy", 1).register(master);
    let small = App::new(master, "small", 2).memory(64).cores(1).max(1);
    let small = small.register(master);
    assert_eq!(small.seen(master).cores_granted, 0);
    let large = App::new(master, "large", 3).memory(1024).register(master);

    assert!(greedy.request(master, 0));
    assert!(greedy.kill(master, vec![0]));

    assert_eq!(greedy.seen(master).cores_granted, 0);
    assert_eq!(small.seen(master).cores_granted, 1);
    assert_eq!(large.seen(master).cores_granted, 0, "it fits nowhere");
    Worker::new(master, "b", 11, 2, 2048).register(master);
    assert_eq!(large.seen(master).cores_granted, 2);
}

/// An application that does not say how many cores it wants gets so many.
pub fn default_cores_bound_those_that_say_nothing(master: &mut impl MasterUnderTest) {
    master.start(&[("default_cores", "3")]).unwrap();
    Worker::new(master, "a", 10, 10, 4096).register(master);
    let silent = App::new(master, "silent", 1).register(master);
    let asking = App::new(master, "asking", 2).max(5).register(master);
    let granted = [&silent, &asking].map(|app| app.seen(master).cores_granted);
    assert_eq!(granted, [3, 5]);
}

/// The state names the policy in effect.
pub fn the_state_names_the_policy(master: &mut impl MasterUnderTest) {
    for (spread_out, policy) in [("true", "spread-out"), ("false", "consolidate")] {
        master.start(&[("spread_out_apps", spread_out)]).unwrap();
        assert_eq!(master.state().policy, policy);
    }
}

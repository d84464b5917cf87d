//! Ids of applications and drivers.

use deploy_protocol::{LaunchDriver, Program};

use super::{App, MasterUnderTest, Peer, Worker, driver};

/// M23.
pub fn ids_of_drivers_follow_their_pattern(master: &mut impl MasterUnderTest) {
    master
        .start(&[("driver_id_pattern", "my-driver-%2$05d")])
        .unwrap();
    let client = Peer::new(master, "client", 1);
    for expected in ["my-driver-00000", "my-driver-00001", "my-driver-00002"] {
        assert_eq!(client.submit(master, driver(false)), expected);
    }
}

/// M24, M26: such an id could not be part of an endpoint's name, or of a command line.
pub fn a_pattern_with_white_space_is_refused_at_the_start(master: &mut impl MasterUnderTest) {
    for key in ["driver_id_pattern", "app_id_pattern"] {
        let reason = master.start(&[(key, "my id-%s-%04d")]).unwrap_err();
        let named = reason.contains(key) && reason.contains("white space");
        assert!(named, "{reason}");
    }
}

/// M25.
pub fn ids_of_applications_follow_their_pattern(master: &mut impl MasterUnderTest) {
    master
        .start(&[("app_id_pattern", "my-app-%2$05d")])
        .unwrap();
    for (host, expected) in [
        (1, "my-app-00000"),
        (2, "my-app-00001"),
        (3, "my-app-00002"),
    ] {
        assert_eq!(App::new(master, "app", host).register(master).id, expected);
    }
}

/// Unless told otherwise, ids have time and number.
pub fn ids_have_time_and_number(master: &mut impl MasterUnderTest) {
    master.start(&[]).unwrap();
    let app = App::new(master, "app", 1).register(master).id;
    let client = Peer::new(master, "client", 1);
    let driver = client.submit(master, driver(false));
    for (id, kind) in [(app, "app"), (driver, "driver")] {
        let parts: Vec<&str> = id.split('-').collect();
        assert_eq!((parts.len(), parts[0], parts[2]), (3, kind, "0000"), "{id}");
        assert!(parts[1].len() == 14 && parts[1].starts_with("20"), "{id}");
    }
}

/// M27.
pub fn numbers_of_applications_begin_again_after_the_modulo(master: &mut impl MasterUnderTest) {
    let config = [
        ("app_number_modulo", "1000"),
        ("app_id_pattern", "app-%04d"),
    ];
    master.start(&config).unwrap();
    for number in 0..2001 {
        let app = App::new(master, "app", 1).register(master);
        assert_eq!(app.id, format!("app-{:04}", number % 1000));
        app.unregister(master);
    }
}

/// An id is never that of two applications, whatever the pattern.
pub fn an_id_that_is_taken_is_passed_over(master: &mut impl MasterUnderTest) {
    let config = [
        ("app_number_modulo", "1000"),
        ("app_id_pattern", "app-%04d"),
    ];
    master.start(&config).unwrap();
    let stays = App::new(master, "stays", 1).register(master);
    assert_eq!(stays.id, "app-0000");
    for _ in 1..1000 {
        App::new(master, "app", 2)
            .register(master)
            .unregister(master);
    }
    assert_eq!(App::new(master, "next", 2).register(master).id, "app-0001");
}

/// M28.
pub fn the_id_of_an_application_may_be_its_name(master: &mut impl MasterUnderTest) {
    master.start(&[("use_app_name_as_app_id", "true")]).unwrap();
    let first = App::new(master, " My App ", 1).register(master);
    assert_eq!(first.id, "myapp");
    let second = App::new(master, "MYAPP", 2).register(master);
    assert_eq!(second.id, "myapp-2", "two of one name are told apart");
}

/// M29, M30: here a driver, endpoint or command, finds it in its environment.
pub fn the_name_of_a_submitted_application_may_be_the_id_of_its_driver(
    master: &mut impl MasterUnderTest,
) {
    master
        .start(&[("use_driver_id_as_app_name", "true")])
        .unwrap();
    let worker = Worker::new(master, "a", 10, 4, 4096);
    worker.register(master);
    let client = Peer::new(master, "client", 1);
    for program in [Program::Endpoint, Program::Command] {
        let mut described = driver(false);
        described.command.program = program;
        described.command.arguments = vec!["--fast".to_owned()];
        described
            .command
            .environment
            .insert("app_name".to_owned(), "as the user says".to_owned());
        let id = client.submit(master, described);
        let launch: LaunchDriver = master.received(&worker.peer.reference, 1).remove(0);
        let command = launch.description.command;
        assert_eq!(command.environment.get("app_name"), Some(&id));
        assert_eq!(command.arguments, ["--fast"]);
    }
}

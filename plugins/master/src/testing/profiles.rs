//! Resource profiles, and other resources.

use std::collections::BTreeMap;

use deploy_protocol::{
    DriverState, DriverStateChanged, LaunchDriver, ResourceProfile, ResourceRequirement,
};

use super::{App, MasterUnderTest, Peer, Worker, driver};

fn profile(id: u32, cores: Option<u32>, memory_mb: Option<u32>) -> ResourceProfile {
    ResourceProfile {
        id,
        cores,
        memory_mb,
        resources: Vec::new(),
    }
}

/// Three workers of 2 cores and 512 MB; an application that wants no executor first, and then five
/// profiles. Returns application, workers, and how many executors there are of each profile.
fn five_profiles(
    master: &mut impl MasterUnderTest,
    max_cores: Option<u32>,
) -> (App, [Worker; 3], Vec<usize>) {
    master.start(&[]).unwrap();
    let workers = [("a", 10), ("b", 11), ("c", 12)].map(|(id, host)| {
        let worker = Worker::new(master, id, host, 2, 512);
        worker.register(master);
        worker
    });
    let mut app = App::new(master, "app", 1).cores(1).limit(0);
    app.description.max_cores = max_cores;
    let app = app.register(master);
    assert!(app.seen(master).executors.is_empty());

    let totals = BTreeMap::from([
        (app.description.default_profile.clone(), 1),
        (profile(1, Some(3), None), 1),
        (profile(2, None, Some(1024)), 1),
        (profile(3, Some(1), Some(256)), 1),
        (profile(4, None, None), 2),
    ]);
    assert!(app.request_all(master, totals));
    let executors = app.seen(master).executors;
    let of = |profile| {
        let all = executors.iter();
        let of_it = |executor: &&deploy_protocol::ExecutorInfo| {
            executor.description.resource_profile_id == profile
        };
        all.filter(of_it).count()
    };
    (app, workers, (0..5).map(of).collect())
}

/// MR1: each profile gets what fits; what its executors get is told to worker and application.
pub fn each_profile_gets_executors_of_its_own(master: &mut impl MasterUnderTest) {
    let (app, workers, executors) = five_profiles(master, None);
    assert_eq!(executors, [1, 0, 0, 1, 2]);
    let mut launches = Vec::new();
    for worker in &workers {
        let count = worker.seen(master).executors.len();
        launches.extend(worker.launched(master, count));
    }
    launches.sort_by_key(|launch| launch.executor_id);
    let told: Vec<(u32, u32, u32)> = launches
        .iter()
        .map(|launch| (launch.resource_profile_id, launch.cores, launch.memory_mb))
        .collect();
    assert_eq!(told, [(0, 1, 128), (3, 1, 256), (4, 1, 128), (4, 1, 128)]);
    assert_eq!(app.seen(master).executor_limit, Some(6));
}

/// MR2: the cores of an application bound all its profiles together, the lower ones first.
pub fn max_cores_bound_all_profiles_together(master: &mut impl MasterUnderTest) {
    let (_, _, executors) = five_profiles(master, Some(3));
    assert_eq!(executors, [1, 0, 0, 1, 1]);
}

fn needs(name: &str, amount: u32) -> ResourceRequirement {
    ResourceRequirement {
        name: name.to_owned(),
        amount,
    }
}

/// MR3: cores and memory that a profile does not name are those of the default one; other resources
/// never are.
pub fn other_profiles_inherit_cores_and_memory_but_no_other_resources(
    master: &mut impl MasterUnderTest,
) {
    master.start(&[]).unwrap();
    let worker = Worker::new(master, "a", 10, 8, 4096)
        .with("fpga", 1)
        .with("gpu", 2);
    worker.register(master);
    let mut app = App::new(master, "app", 1).cores(2).limit(1);
    app.description.default_profile.resources = vec![needs("fpga", 1), needs("gpu", 1)];
    let app = app.register(master);
    let first = worker.launched(master, 1).remove(0);
    let names: Vec<&str> = first
        .resources
        .iter()
        .map(|resource| resource.name.as_str())
        .collect();
    assert_eq!(names, ["fpga", "gpu"]);

    let mut with_gpu = profile(1, None, None);
    with_gpu.resources = vec![needs("gpu", 1)];
    let totals = BTreeMap::from([(with_gpu, 1), (profile(2, None, None), 1)]);
    assert!(app.request_all(master, totals));
    let launches = worker.launched(master, 2);
    let given: Vec<(u32, u32, usize)> = launches
        .iter()
        .map(|launch| (launch.cores, launch.memory_mb, launch.resources.len()))
        .collect();
    assert_eq!(given, [(2, 128, 1), (2, 128, 0)]);
    assert_eq!(launches[0].resources[0].addresses, ["1"], "gpu 0 is taken");
}

/// RC8: driver and executor never share an address, and give all back.
pub fn driver_and_executor_get_addresses_of_their_own(master: &mut impl MasterUnderTest) {
    master.start(&[]).unwrap();
    let worker = Worker::new(master, "a", 10, 8, 4096).with("gpu", 6);
    worker.register(master);
    let client = Peer::new(master, "client", 2);
    let mut description = driver(false);
    description.resources = vec![needs("gpu", 3)];
    let driver_id = client.submit(master, description);
    let mut app = App::new(master, "app", 1).cores(1);
    app.description.default_profile.resources = vec![needs("gpu", 3)];
    let app = app.register(master);

    let state = master.state();
    let of_driver = &state.active_drivers[0].resources[0].addresses;
    let of_executor = &state.active_apps[0].executors[0].resources[0].addresses;
    assert_eq!((of_driver.len(), of_executor.len()), (3, 3));
    assert!(
        of_driver
            .iter()
            .all(|address| !of_executor.contains(address))
    );
    assert_eq!(
        worker.seen(master).executors.len(),
        1,
        "there is no address for another"
    );

    app.unregister(master);
    let report = DriverStateChanged {
        driver_id,
        state: DriverState::Finished,
        message: String::new(),
        exit_status: Some(0),
    };
    master.ask(&worker.peer.reference, &report).unwrap();
    let seen = worker.seen(master);
    assert_eq!(seen.resources_used[0].addresses, Vec::<String>::new());
    assert_eq!(seen.resources[0].addresses.len(), 6);
    assert_eq!((seen.cores_used, seen.memory_used_mb), (0, 0));
}

/// What is named twice is needed twice.
pub fn a_resource_that_is_named_twice_is_needed_with_both_amounts(
    master: &mut impl MasterUnderTest,
) {
    master.start(&[]).unwrap();
    let twice = [1, 2].map(|amount| ResourceRequirement {
        name: "gpu".to_owned(),
        amount,
    });
    let worker = Worker::new(master, "a", 10, 4, 4096).with("gpu", 7);
    worker.register(master);
    let client = Peer::new(master, "client", 2);
    let mut needs = driver(false);
    needs.resources = twice.to_vec();
    client.submit(master, needs);
    let launched: Vec<LaunchDriver> = master.received(&worker.peer.reference, 1);
    let given = &launched[0].resources;
    assert_eq!((given.len(), given[0].addresses.len()), (1, 3));
    let mut app = App::new(master, "app", 1).cores(1);
    app.description.default_profile.resources = twice.to_vec();
    let app = app.register(master);
    let launched = worker.launched(master, 1);
    let given = &launched[0].resources;
    assert_eq!((given.len(), given[0].addresses.len()), (1, 3));
    // Still the same application.
    assert_eq!(app.clone().register(master).id, app.id);
}

//! Targets that go up and down, as Spark's dynamic allocation suite has them (DA): two workers of 10
//! cores. There a client lowers its target by what it kills; here the test says both.

use deploy_protocol::ExecutorState;

use super::{App, MasterUnderTest, Worker};

fn started<M: MasterUnderTest>(master: &mut M, app: impl FnOnce(App) -> App) -> App {
    master.start(&[]).unwrap();
    for (id, host) in [("a", 10), ("b", 11)] {
        Worker::new(master, id, host, 10, 2048).register(master);
    }
    let new = App::new(master, "app", 1);
    app(new).register(master)
}

/// Cores of its executors, most first, and its limit.
fn has(master: &mut impl MasterUnderTest, app: &App) -> (Vec<u32>, Option<u32>) {
    let seen = app.seen(master);
    let executors = seen.executors.iter();
    let mut cores: Vec<u32> = executors.map(|one| one.description.cores).collect();
    cores.sort_unstable_by(|a, b| b.cmp(a));
    (cores, seen.executor_limit)
}

fn ids(master: &mut impl MasterUnderTest, app: &App) -> Vec<u32> {
    let executors = app.seen(master).executors.into_iter();
    executors.map(|one| one.description.executor_id).collect()
}

/// Kills the first of its executors, and wants so many from then on.
fn kill(master: &mut impl MasterUnderTest, app: &App, count: usize, limit: u32) {
    let mut killed = ids(master, app);
    killed.truncate(count);
    assert!(app.request(master, limit));
    assert!(app.kill(master, killed));
}

const ALL: usize = usize::MAX;

/// DA1.
pub fn without_limits_an_executor_on_each_worker_up_to_the_target(
    master: &mut impl MasterUnderTest,
) {
    let app = started(master, |app| app);
    assert_eq!(has(master, &app), (vec![10, 10], None));
    kill(master, &app, ALL, 0);
    assert_eq!(has(master, &app), (vec![], Some(0)));
    for (target, executors) in [(1, 1), (2, 2), (3, 2)] {
        assert!(app.request(master, target));
        assert_eq!(has(master, &app), (vec![10; executors], Some(target)));
    }
    kill(master, &app, ALL, 1);
    assert_eq!(has(master, &app), (vec![10], Some(1)));
    kill(master, &app, ALL, 0);
    assert_eq!(has(master, &app), (vec![], Some(0)));
    assert!(app.request(master, 1000));
    assert_eq!(has(master, &app), (vec![10, 10], Some(1000)));
}

/// DA2: fewer cores than one worker has.
pub fn with_few_max_cores_one_executor_may_take_all_of_them(master: &mut impl MasterUnderTest) {
    let app = started(master, |app| app.max(8));
    assert_eq!(has(master, &app), (vec![4, 4], None));
    kill(master, &app, ALL, 0);
    for target in 1..4 {
        assert!(app.request(master, target));
        assert_eq!(has(master, &app), (vec![8], Some(target)));
    }
    kill(master, &app, ALL, 2);
    assert_eq!(has(master, &app), (vec![4, 4], Some(2)));
}

/// DA3: more than one worker has.
pub fn with_many_max_cores_what_one_worker_has_not_comes_from_the_other(
    master: &mut impl MasterUnderTest,
) {
    let app = started(master, |app| app.max(16));
    assert_eq!(has(master, &app), (vec![8, 8], None));
    kill(master, &app, ALL, 0);
    for (target, cores) in [(1, vec![10]), (2, vec![10, 6]), (3, vec![10, 6])] {
        assert!(app.request(master, target));
        assert_eq!(has(master, &app), (cores, Some(target)));
    }
    kill(master, &app, ALL, 1);
    assert_eq!(has(master, &app), (vec![10], Some(1)));
}

/// DA4.
pub fn with_cores_per_executor_targets_count_executors(master: &mut impl MasterUnderTest) {
    let app = started(master, |app| app.cores(2));
    assert_eq!(has(master, &app), (vec![2; 10], None));
    kill(master, &app, ALL, 0);
    for (target, executors) in [(1, 1), (4, 4), (14, 10)] {
        assert!(app.request(master, target));
        assert_eq!(has(master, &app), (vec![2; executors], Some(target)));
    }
    kill(master, &app, 2, 12);
    assert_eq!(has(master, &app), (vec![2; 10], Some(12)));
    kill(master, &app, 4, 8);
    assert_eq!(has(master, &app), (vec![2; 8], Some(8)));
}

/// DA5.
pub fn with_cores_per_executor_max_cores_bound_them_below_the_target(
    master: &mut impl MasterUnderTest,
) {
    let app = started(master, |app| app.cores(2).max(8));
    assert_eq!(has(master, &app), (vec![2; 4], None));
    kill(master, &app, ALL, 0);
    for (target, executors) in [(1, 1), (4, 4), (14, 4)] {
        assert!(app.request(master, target));
        assert_eq!(has(master, &app), (vec![2; executors], Some(target)));
    }
    for (target, executors) in [(10, 4), (6, 4), (2, 2)] {
        kill(master, &app, ALL, target);
        assert_eq!(has(master, &app), (vec![2; executors], Some(target)));
    }
}

/// DA6: the second kill of one executor kills nobody, and nobody comes for it.
pub fn an_executor_is_killed_once(master: &mut impl MasterUnderTest) {
    let app = started(master, |app| app);
    assert!(app.request(master, 1));
    let first = ids(master, &app)[0];
    for _ in 0..2 {
        assert!(app.kill(master, vec![first, first]));
        assert_eq!(has(master, &app), (vec![10], Some(1)));
    }
    let killed = app.seen(master).removed_executors.into_iter();
    let killed = killed.filter(|one| one.description.state == ExecutorState::Killed);
    assert_eq!(killed.count(), 1);
}

/// DA7: with its target as it was, what is killed is replaced, under another number that the old one
/// does not lead to.
pub fn what_replaces_an_executor_is_not_killed_by_the_old_number(
    master: &mut impl MasterUnderTest,
) {
    let app = started(master, |app| app.limit(2));
    let before = ids(master, &app);
    assert!(app.kill(master, vec![before[0]]));
    let after = ids(master, &app);
    assert_eq!(after.len(), 2);
    assert!(!after.contains(&before[0]));
    assert!(app.kill(master, vec![before[0]]));
    assert_eq!(ids(master, &app), after);
}

/// DA9.
pub fn the_first_target_is_that_of_the_registration(master: &mut impl MasterUnderTest) {
    for limit in [0, 1] {
        let app = started(master, |app| app.limit(limit));
        let cores = vec![10; limit as usize];
        assert_eq!(has(master, &app), (cores, Some(limit)));
    }
}

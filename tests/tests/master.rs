//! The specification of a master, over the compiled component on a real host. The rules themselves are in
//! `plugins/master/src/testing/`. At the end: what only a real host shows.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    reason = "a test fails by panicking"
)]

master::rules_of_masters!(instar_tests::component_master::ComponentMaster);
master::rules_of_standbys!(instar_tests::component_master::ComponentMaster);

/// A host with the component `master`.
mod on_a_host {
    use std::collections::BTreeMap;

    use deploy_protocol::{
        ApplicationDescription, Command, KillExecutors, Program, RegisterApplication,
        RegisterWorker, RequestMasterState, RequestReadyz, ResourceProfile,
    };
    use instar_host::endpoint::settings::EndpointSettings;
    use instar_host::endpoint::status::EndpointState;
    use instar_host::transport::{Listen, TransportSettings};
    use instar_host::{EndpointRef, RpcEnv, RpcSettings};
    use instar_tests::puppets::Puppets;
    use instar_tests::{ask, component, eventually, server, start};
    use master::testing::component as component_file;

    async fn master(host: &RpcEnv, config: &[(&str, &str)]) -> EndpointRef {
        let owned = |&(key, value): &(&str, &str)| (key.to_owned(), value.to_owned());
        let settings = EndpointSettings {
            config: config.iter().map(owned).collect(),
            grants: ["clock", "lead", "persist"].map(str::to_owned).into(),
            ..EndpointSettings::default()
        };
        let code = component("master");
        host.setup_endpoint("Master", &code, settings)
            .await
            .unwrap()
    }

    async fn leads(master: &EndpointRef) {
        let ready = || async {
            let answer = ask(master, &RequestReadyz {}).await.ok()?;
            answer.ready.then_some(())
        };
        eventually("it leads", ready).await;
    }

    fn worker(number: u32, puppets: &Puppets) -> RegisterWorker {
        RegisterWorker {
            id: format!("worker-20260102030405-host-{number}-7078"),
            host: format!("host-{number}"),
            port: 7078,
            worker: puppets.reference(&format!("worker-{number}")),
            cores: 4,
            memory_mb: 4096,
            web_ui_url: String::new(),
            master_address: "dialled.example:7077".to_owned(),
            resources: Vec::new(),
        }
    }

    fn application(number: u32, puppets: &Puppets) -> RegisterApplication {
        RegisterApplication {
            application: ApplicationDescription {
                name: "app".to_owned(),
                max_cores: Some(20),
                command: Command {
                    program: Program::Endpoint,
                    component: component_file("work"),
                    arguments: Vec::new(),
                    environment: BTreeMap::new(),
                },
                ui_url: String::new(),
                default_profile: ResourceProfile {
                    id: 0,
                    cores: Some(1),
                    memory_mb: Some(128),
                    resources: Vec::new(),
                },
                initial_executor_limit: None,
                user: "ana".to_owned(),
            },
            driver: puppets.reference(&format!("client-{number}")),
        }
    }

    /// It does not stand by for ever, and says what is missing.
    #[tokio::test]
    async fn one_that_is_to_keep_and_has_no_store_does_not_start_and_says_so() {
        let host = start(server()).await;
        master(&host, &[("recovery_mode", "filesystem")]).await;
        let reason = eventually("it does not start", || async {
            match host.status_of("Master")?.state {
                EndpointState::Restarting(reason) | EndpointState::Failed(reason) => Some(reason),
                _ => None,
            }
        });
        let reason = reason.await;
        assert!(reason.contains("no store"), "{reason}");
        assert!(reason.contains("instar up --store"), "{reason}");
        host.shutdown().await;
    }

    /// As many as it is made for, within the memory and the frames that a host gives unless told otherwise.
    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn ten_thousand_workers_and_a_thousand_applications_are_told_in_one_answer() {
        let host = start(server()).await;
        let master = master(&host, &[]).await;
        leads(&master).await;
        let puppets = Puppets::start().await;
        let to = master.address();
        for number in 0..1000 {
            let registration = application(number, &puppets);
            puppets.send(to, &registration).await.unwrap();
        }
        for number in 0..10_000 {
            puppets.send(to, &worker(number, &puppets)).await.unwrap();
        }
        let state = puppets.ask(to, &RequestMasterState {}).await.unwrap();
        assert_eq!(
            (state.workers.len(), state.active_apps.len()),
            (10_000, 1000)
        );
        let executors = state.active_apps.iter().map(|app| app.executors.len());
        assert_eq!(executors.sum::<usize>(), 20_000);
        for round in 0..2 {
            for app in &state.active_apps {
                let kill = KillExecutors {
                    app_id: app.id.clone(),
                    executor_ids: (round * 20..round * 20 + 20).collect(),
                };
                puppets.ask(to, &kill).await.unwrap();
            }
            // What they are told is not looked at, and is much.
            puppets.take();
        }
        let state = puppets.ask(to, &RequestMasterState {}).await.unwrap();
        for app in &state.active_apps {
            assert_eq!((app.executors.len(), app.removed_executors.len()), (20, 20));
        }
        assert_eq!(host.status_of("Master").unwrap().crashes, 0);
        puppets.hang_up().await;
        host.shutdown().await;
    }

    /// Beyond the limit of a frame, whoever asks is told how much it is and what limits it; the master goes on.
    #[tokio::test]
    async fn a_state_that_does_not_fit_into_a_frame_is_refused_with_the_limit() {
        let transport = TransportSettings {
            listen: Some(Listen::local(0)),
            frame_bytes_max: 16 << 10,
            ..TransportSettings::default()
        };
        let settings = RpcSettings {
            transport,
            ..server()
        };
        let host = start(settings).await;
        let master = master(&host, &[]).await;
        leads(&master).await;
        let puppets = Puppets::start().await;
        let to = master.address();
        for number in 0..300 {
            puppets.send(to, &worker(number, &puppets)).await.unwrap();
        }
        let refused = puppets.ask(to, &RequestMasterState {}).await.unwrap_err();
        assert_eq!(refused.code(), "too-large", "{refused}");
        assert!(refused.to_string().contains("frame_bytes_max"), "{refused}");
        assert_eq!(
            puppets
                .ask(to, &RequestReadyz {})
                .await
                .map(|answer| answer.ready),
            Ok(true)
        );
        puppets.hang_up().await;
        host.shutdown().await;
    }
}

//! Store-host: a host with a store and one endpoint, in a process of its own, so that a test can kill it
//! at any instant.
//!
//! `store-host DIRECTORY` prints the uri of the endpoint, or why it does not start, and works until its
//! input ends.

use std::collections::BTreeSet;
use std::io::Read as _;
use std::process::ExitCode;

use instar_host::endpoint::settings::EndpointSettings;
use instar_host::store::StoreSettings;
use instar_host::{RpcEnv, RpcSettings};
use instar_tests::{component, server};

#[tokio::main]
async fn main() -> ExitCode {
    let settings = RpcSettings {
        store: std::env::args_os()
            .nth(1)
            .map(|store| StoreSettings::Directory(store.into())),
        ..server()
    };
    let env = match RpcEnv::create(settings).await {
        Ok(env) => env,
        Err(error) => {
            println!("error: {error}");
            return ExitCode::FAILURE;
        }
    };
    let grants = ["channel", "persist"].map(str::to_owned);
    let settings = EndpointSettings {
        grants: BTreeSet::from(grants),
        ..EndpointSettings::default()
    };
    let code = component("reader-writer-v1");
    match env.setup_endpoint("rw", &code, settings).await {
        Ok(endpoint) => println!("{endpoint}"),
        Err(error) => println!("error: {error}"),
    }
    let ended = tokio::task::spawn_blocking(|| std::io::stdin().read_to_end(&mut Vec::new()));
    // However the input ended: nobody is there any more.
    let _ = ended.await;
    env.shutdown().await;
    ExitCode::SUCCESS
}

//! Harness: what the integration tests, the benches and the demo share.

pub mod cluster;

pub mod company;

pub mod component_master;

pub mod corpus;

pub mod counting;

pub mod counts;

pub mod curator;

pub mod faults;

pub mod ha_cluster;

pub mod load;

pub mod neighbour;

pub mod packages;

pub mod process;

pub mod proxy;

pub mod puppets;

pub mod schedule;

pub mod second_client;

pub mod story;

pub mod table;

pub mod watch;

pub mod word_count;

pub mod zookeeper;

use std::future::Future;
use std::path::PathBuf;
use std::sync::OnceLock;
use std::time::Duration;

use instar_host::component::code::Code;
use instar_host::component::engine::{Engine, EngineSettings};
use instar_host::transport::{Listen, TransportSettings};
use instar_host::{EndpointRef, Message, RpcEnv, RpcError, RpcSettings};
use instar_sdk::{Message as GuestMessage, Request};

/// The longest that any test waits for a state. Far more than needed: machines are busy.
pub const DEADLINE: Duration = Duration::from_secs(60);

/// The file of a component that the build script built, for example `probe-v1`.
///
/// # Panics
/// Where there is none of this name.
pub fn component_path(name: &str) -> PathBuf {
    let path = PathBuf::from(env!("INSTAR_COMPONENTS")).join(format!("{name}.wasm"));
    assert!(
        path.is_file(),
        "no component `{name}`; tests/build.rs lists them"
    );
    path
}

/// The code of a component that the build script built.
///
/// # Panics
/// As [`component_path`].
pub fn component(name: &str) -> Code {
    match Code::from_file(&component_path(name)) {
        Ok(code) => code,
        Err(error) => panic!("component `{name}`: {error}"),
    }
}

/// The engine that all tests of this process share. Compiled code is kept in the build folder, so
/// that each component is compiled once.
///
/// # Panics
/// Where this machine cannot run Wasm.
pub fn engine() -> Engine {
    static ENGINE: OnceLock<Engine> = OnceLock::new();
    let make = || {
        Engine::new(&EngineSettings {
            instances: 200,
            cache: Some(process::compiled()),
        })
    };
    ENGINE
        .get_or_init(|| match make() {
            Ok(engine) => engine,
            Err(error) => panic!("no engine: {error}"),
        })
        .clone()
}

/// Settings of a host that listens on a free port of loopback.
pub fn server() -> RpcSettings {
    RpcSettings {
        transport: TransportSettings {
            listen: Some(Listen::local(0)),
            ..TransportSettings::default()
        },
        engine: Some(engine()),
        ..RpcSettings::default()
    }
}

/// Settings of a host that does not listen.
pub fn client() -> RpcSettings {
    RpcSettings {
        engine: Some(engine()),
        ..RpcSettings::default()
    }
}

/// Starts a host.
///
/// # Panics
/// Where it does not start.
pub async fn start(settings: RpcSettings) -> RpcEnv {
    match RpcEnv::create(settings).await {
        Ok(env) => env,
        Err(error) => panic!("the host does not start: {error}"),
    }
}

/// The message of a value.
///
/// # Panics
/// Where the value cannot be encoded.
pub fn message<M: GuestMessage>(value: &M) -> Message {
    match postcard::to_stdvec(value) {
        Ok(body) => Message::new(M::KIND, body),
        Err(error) => panic!("{}: {error}", M::KIND),
    }
}

/// Asks for the answer that belongs to a request.
///
/// # Errors
/// As [`EndpointRef::ask_with_timeout`]; an answer of another kind or shape is
/// [`RpcError::Undecodable`].
pub async fn ask<R: Request>(to: &EndpointRef, request: &R) -> Result<R::Reply, RpcError> {
    let answer = to.ask_with_timeout(message(request), DEADLINE).await?;
    let undecodable = |reason: String| RpcError::Undecodable {
        what: format!("the answer to {}", R::KIND),
        reason,
    };
    if *answer.kind != *R::Reply::KIND {
        return Err(undecodable(format!("its kind is {}", answer.kind)));
    }
    postcard::from_bytes(&answer.body).map_err(|error| undecodable(error.to_string()))
}

/// Waits until `state` gives a value.
///
/// # Panics
/// After [`DEADLINE`], with `what`.
pub async fn eventually<T, F: Future<Output = Option<T>>>(
    what: &str,
    mut state: impl FnMut() -> F,
) -> T {
    let polling = async {
        loop {
            if let Some(value) = state().await {
                return value;
            }
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    };
    match tokio::time::timeout(DEADLINE, polling).await {
        Ok(value) => value,
        Err(_elapsed) => panic!("not within {DEADLINE:?}: {what}"),
    }
}

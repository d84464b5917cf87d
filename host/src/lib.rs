//! Instar: a host for RPC endpoints that are WebAssembly components, replaced while they work.
//!
//! Start with [`RpcEnv`]. The modules below stand in the order in which a message travels.
//!
//! ```no_run
//! use instar_host::component::code::Code;
//! use instar_host::{Message, RpcEnv, RpcSettings};
//!
//! # async fn example() -> Result<(), Box<dyn std::error::Error>> {
//! let env = RpcEnv::create(RpcSettings::default()).await?;
//! let code = Code::from_file("echo.wasm".as_ref())?;
//! let echo = env.setup_endpoint("echo", &code, Default::default()).await?;
//! let body = postcard::to_stdvec("hello")?;
//! let answer = echo.ask(Message::new("echo.Say", body)).await?;
//! println!("{answer:?}");
//! env.swap("echo", &Code::from_file("echo-2.wasm".as_ref())?, None, "example").await?;
//! env.shutdown().await;
//! # Ok(())
//! # }
//! ```

pub mod address;

pub mod message;

pub mod error;

pub mod responder;

mod clock;

mod moment;

pub mod transport;

mod dispatcher;

pub mod endpoint;

pub mod component;

mod endpoint_ref;

mod log_budget;

pub mod file_server;

mod channels;

mod dir_lock;

pub mod store;

pub mod election;

pub mod zookeeper;

pub mod launch;

mod rpc_env;

pub mod plugins;

pub mod schema;

pub mod admin;

mod soak;

pub mod cli;

pub mod bundled;

pub mod sdk_sources;

pub use election::ElectionSettings;
pub use endpoint_ref::{AbortHandle, AbortableAsk, EndpointRef};
pub use error::RpcError;
pub use message::Message;
pub use rpc_env::{
    ENDPOINT_VERIFIER, EnvError, OpenChannelError, RpcEnv, RpcSettings, SetupError, StoreSettings,
    Timeouts,
};

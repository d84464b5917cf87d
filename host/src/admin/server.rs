//! Server: the routes of the admin API and the life of its listener.

use std::net::SocketAddr;
use std::path::Path as FilePath;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::{Path, Query, Request, State};
use axum::http::{Method, StatusCode, header};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Json, Response};
use axum::routing::{get, post};
use serde::Deserialize;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::api::{Done, Problem, Refreshed, StatusReply, Swapped};
use super::body::{read_component, read_together};
use super::control::{Control, ControlError, Pending};
use super::failure::Failure;
use super::listener::BoundedListener;
use super::token::{TokenError, TokenFile};
use super::{guard, metrics};
use crate::address::check_endpoint_name;
use crate::endpoint::record::{SwapOutcome, SwapRecord};
use crate::endpoint::rehearsal::Rehearsal;

/// How long running actions and open connections may take when the server stops.
const STOP_TIME_MAX: Duration = Duration::from_secs(10);

/// Why the admin server did not start.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum AdminError {
    /// Choose a loopback address; from elsewhere it is reached through an SSH tunnel.
    #[error("the admin API listens on loopback only: expected 127.0.0.1 or [::1], found {listen}")]
    NotLoopback {
        /// What was given.
        listen: SocketAddr,
    },
    /// Choose another port with `--admin`, or end the program that has it.
    #[error("cannot listen on {listen} for the admin API")]
    Bind {
        /// The address.
        listen: SocketAddr,
        /// Why.
        source: std::io::Error,
    },
    /// The token could not be left for clients.
    #[error(transparent)]
    Token(#[from] TokenError),
}

/// A running admin server. Dropping it without [`AdminServer::shutdown`] stops it at once.
#[derive(Debug)]
pub struct AdminServer {
    address: SocketAddr,
    shared: Arc<Shared>,
    stop: CancellationToken,
    serving: JoinHandle<()>,
}

struct Shared {
    control: Arc<dyn Control>,
    token: TokenFile,
    /// Actions outlive the connection that asked for them.
    actions: TaskTracker,
}

impl std::fmt::Debug for Shared {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Shared")
    }
}

impl AdminServer {
    /// Listens on `listen` (port 0: a free one), leaves a token in `data`, and serves `control`.
    ///
    /// # Errors
    /// [`AdminError`] names the address or file.
    ///
    /// # Cancellation
    /// Dropping the future leaves nothing behind.
    pub async fn start(
        listen: SocketAddr,
        data: &FilePath,
        control: Arc<dyn Control>,
    ) -> Result<Self, AdminError> {
        if !listen.ip().is_loopback() {
            return Err(AdminError::NotLoopback { listen });
        }
        let bind = |source| AdminError::Bind { listen, source };
        // The port is ours before the token file says so.
        let listener = TcpListener::bind(listen).await.map_err(bind)?;
        let address = listener.local_addr().map_err(bind)?;
        let shared = Arc::new(Shared {
            control,
            token: TokenFile::create(data, address.port())?,
            actions: TaskTracker::new(),
        });
        let stop = CancellationToken::new();
        let serve = axum::serve(BoundedListener::new(listener), routes(shared.clone()))
            .with_graceful_shutdown(stop.clone().cancelled_owned());
        let serving = tokio::spawn(async move {
            if let Err(error) = serve.await {
                tracing::error!(%error, "the admin server ended");
            }
        });
        Ok(Self {
            address,
            shared,
            stop,
            serving,
        })
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Where the token lies.
    pub fn token_path(&self) -> &FilePath {
        self.shared.token.path()
    }

    /// Takes no new connection, waits for running actions and open requests, removes the token. What is not
    /// done after ten seconds is cut off, with a warning.
    pub async fn shutdown(mut self) {
        self.stop.cancel();
        self.shared.actions.close();
        let orderly = async {
            // Both: an action may run whose asker has gone.
            self.shared.actions.wait().await;
            let _ = (&mut self.serving).await;
        };
        if tokio::time::timeout(STOP_TIME_MAX, orderly).await.is_err() {
            let actions = self.shared.actions.len();
            tracing::warn!(
                actions,
                "admin requests did not end in time, cutting them off"
            );
        }
    }
}

impl Drop for AdminServer {
    fn drop(&mut self) {
        self.serving.abort();
    }
}

type Host = State<Arc<Shared>>;
type Answer<T> = Result<Json<T>, Failure>;

fn routes(shared: Arc<Shared>) -> Router {
    Router::new()
        .route("/healthz", get(async || "ok\n"))
        .route("/metrics", get(get_metrics))
        .route("/v1/status", get(get_status))
        .route(
            "/v1/plugins",
            get(async |State(host): Host| Json(host.control.plugins())),
        )
        .route("/v1/endpoints/{name}", get(get_endpoint))
        .route("/v1/endpoints/{name}/history", get(get_history))
        .route("/v1/endpoints/{name}/metadata", get(get_metadata))
        .route("/v1/endpoints/{name}/swap", post(post_swap))
        .route("/v1/swap", post(post_swap_together))
        .route("/v1/endpoints/{name}/rehearse", post(post_rehearse))
        .route("/v1/endpoints/{name}/approve", post(post_approve))
        .route("/v1/endpoints/{name}/refresh", post(post_refresh))
        .route("/v1/endpoints/{name}/rollback", post(post_rollback))
        .route("/v1/endpoints/{name}/restart", post(post_restart))
        .route("/v1/endpoints/{name}/stop", post(post_stop))
        .fallback(async |request: Request| no_route(&request))
        .method_not_allowed_fallback(async |request: Request| no_route(&request))
        .layer(middleware::from_fn_with_state(shared.clone(), guarded))
        .with_state(shared)
}

/// Nothing behind this sees a request that the guard refuses. All that is not reading needs the token.
async fn guarded(State(host): Host, request: Request, next: Next) -> Response {
    let (uri, headers) = (request.uri(), request.headers());
    let mut allowed = guard::check_place(uri, headers);
    if allowed.is_ok() && request.method() != Method::GET && request.method() != Method::HEAD {
        let file = host.token.path().display().to_string();
        allowed = guard::check_token(headers, host.token.token(), &file);
    }
    match allowed {
        Ok(()) => next.run(request).await,
        Err((status, problem)) => {
            tracing::warn!(code = problem.code, "admin request refused");
            (status, Json(problem)).into_response()
        }
    }
}

fn no_route(request: &Request) -> Failure {
    let what = format!("{} {}", request.method(), request.uri().path());
    let text = format!("no such request: {what}; the admin API has paths under /v1/");
    Failure(StatusCode::NOT_FOUND, Problem::new("not-found", text))
}

async fn get_metrics(State(host): Host) -> Response {
    let page = metrics::render(&host.control.host(), &host.control.status());
    ([(header::CONTENT_TYPE, metrics::CONTENT_TYPE)], page).into_response()
}

async fn get_status(State(host): Host) -> Json<StatusReply> {
    Json(StatusReply {
        host: host.control.host(),
        endpoints: host.control.status(),
    })
}

async fn get_endpoint(State(host): Host, Path(name): Path<String>) -> Response {
    let endpoints = host.control.status();
    match endpoints.iter().find(|endpoint| endpoint.name == name) {
        Some(endpoint) => Json(endpoint).into_response(),
        None => Failure::from(ControlError::not_found(&name, &endpoints)).into_response(),
    }
}

async fn get_history(State(host): Host, Path(name): Path<String>) -> Answer<Vec<SwapRecord>> {
    found(&host, &name, host.control.history(&name))
}

async fn get_metadata(State(host): Host, Path(name): Path<String>) -> Response {
    match found(&host, &name, host.control.metadata(&name)) {
        Ok(Json(metadata)) => Json(&*metadata).into_response(),
        Err(failure) => failure.into_response(),
    }
}

#[derive(Deserialize)]
struct SwapQuery {
    #[serde(default)]
    force: bool,
}

async fn post_swap(
    State(host): Host,
    Path(name): Path<String>,
    Query(SwapQuery { force }): Query<SwapQuery>,
    request: Request,
) -> Answer<SwapRecord> {
    check_name(&name)?;
    let component = read_component(request).await?;
    tracing::info!(endpoint = %name, bytes = component.len(), force, "swap asked for by the admin API");
    swapped(act(&host, host.control.swap(&name, component, force)).await)
}

async fn post_swap_together(
    State(host): Host,
    Query(sizes): Query<Vec<(String, String)>>,
    request: Request,
) -> Answer<Vec<Swapped>> {
    for (name, _) in &sizes {
        check_name(name)?;
    }
    let swaps = read_together(request, sizes).await?;
    let names: Vec<_> = swaps.iter().map(|(name, _)| name.as_str()).collect();
    tracing::info!(endpoints = ?names, "swap together asked for by the admin API");
    Ok(Json(act(&host, host.control.swap_together(swaps)).await?))
}

async fn post_rehearse(
    State(host): Host,
    Path(name): Path<String>,
    request: Request,
) -> Answer<Rehearsal> {
    check_name(&name)?;
    let component = read_component(request).await?;
    tracing::info!(endpoint = %name, bytes = component.len(), "rehearsal asked for by the admin API");
    Ok(Json(
        act(&host, host.control.rehearse(&name, component)).await?,
    ))
}

async fn post_approve(State(host): Host, Path(name): Path<String>) -> Answer<SwapRecord> {
    check_name(&name)?;
    tracing::info!(endpoint = %name, "approval given by the admin API");
    swapped(act(&host, host.control.approve(&name)).await)
}

async fn post_refresh(State(host): Host, Path(name): Path<String>) -> Answer<Refreshed> {
    check_name(&name)?;
    tracing::info!(endpoint = %name, "refresh asked for by the admin API");
    let refreshed = act(&host, host.control.refresh(&name)).await?;
    let _ = swapped(Ok(refreshed.record.clone()))?;
    Ok(Json(refreshed))
}

#[derive(Deserialize)]
struct RollbackQuery {
    to: Option<String>,
}

async fn post_rollback(
    State(host): Host,
    Path(name): Path<String>,
    Query(query): Query<RollbackQuery>,
) -> Answer<SwapRecord> {
    check_name(&name)?;
    tracing::info!(endpoint = %name, to = query.to, "rollback asked for by the admin API");
    swapped(act(&host, host.control.rollback(&name, query.to.as_deref())).await)
}

async fn post_restart(State(host): Host, Path(name): Path<String>) -> Answer<Done> {
    check_name(&name)?;
    tracing::info!(endpoint = %name, "restart asked for by the admin API");
    act(&host, host.control.restart(&name)).await?;
    Ok(done(name, "restarted"))
}

async fn post_stop(State(host): Host, Path(name): Path<String>) -> Answer<Done> {
    check_name(&name)?;
    tracing::info!(endpoint = %name, "stop asked for by the admin API");
    act(&host, host.control.stop(&name)).await?;
    Ok(done(name, "stopped"))
}

fn done(name: String, done: &str) -> Json<Done> {
    Json(Done {
        name,
        done: done.to_owned(),
    })
}

/// Carries an action out in a task of its own: hyper drops a handler whose client has gone, and half a
/// swap is in nobody's interest.
async fn act<T: Send + 'static>(host: &Shared, action: Pending<T>) -> Result<T, ControlError> {
    let outcome = host.actions.spawn(action).await;
    outcome.unwrap_or_else(|error| {
        Err(ControlError::Failed {
            reason: format!("the action ended early: {error}"),
        })
    })
}

/// A record that tells of no swap is a refusal, whichever way it came.
fn swapped(outcome: Result<SwapRecord, ControlError>) -> Answer<SwapRecord> {
    let record = outcome?;
    let error = match record.outcome.clone() {
        SwapOutcome::Swapped => return Ok(Json(record)),
        SwapOutcome::Rejected(reason) => ControlError::Refused {
            reason,
            record: Some(Box::new(record)),
        },
        SwapOutcome::NeedsApproval(reason) => ControlError::NeedsApproval {
            reason,
            record: Some(Box::new(record)),
        },
        SwapOutcome::GivenUp(reason) | SwapOutcome::RolledBack(reason) => ControlError::GivenUp {
            reason,
            record: Some(Box::new(record)),
        },
    };
    Err(error.into())
}

fn found<T>(host: &Shared, name: &str, what: Option<T>) -> Answer<T> {
    match what {
        Some(what) => Ok(Json(what)),
        None => Err(ControlError::not_found(name, &host.control.status()).into()),
    }
}

fn check_name(name: &str) -> Result<(), Failure> {
    check_endpoint_name(name).map_err(|error| {
        Failure(
            StatusCode::BAD_REQUEST,
            Problem::new("bad-name", error.to_string()),
        )
    })
}

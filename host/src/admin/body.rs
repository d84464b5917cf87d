//! Body: the components that come with a request, with a limit in bytes and in time.

use std::time::Duration;

use axum::body::{Body, to_bytes};
use axum::extract::Request;
use axum::http::{StatusCode, header};
use bytes::Bytes;

use super::api::{COMPONENT_BYTES_MAX, Problem, TOGETHER_BYTES_MAX, TOGETHER_MAX};
use super::failure::Failure;

/// How long the body of one request may take. It comes from the same machine.
const BODY_TIME_MAX: Duration = Duration::from_secs(60);

/// One component.
pub(super) async fn read_component(request: Request<Body>) -> Result<Bytes, Failure> {
    read(request, COMPONENT_BYTES_MAX).await
}

/// Several components, one after the other. `sizes`: whose, and how many bytes each, as in the query.
pub(super) async fn read_together(
    request: Request<Body>,
    sizes: Vec<(String, String)>,
) -> Result<Vec<(String, Bytes)>, Failure> {
    if sizes.is_empty() || sizes.len() > TOGETHER_MAX {
        let text = format!(
            "expected 1 to {TOGETHER_MAX} endpoints as ?NAME=BYTES&NAME=BYTES, found {}",
            sizes.len()
        );
        return Err(Failure::bad_request(text));
    }
    let mut rest = read(request, TOGETHER_BYTES_MAX).await?;
    let (count, total) = (sizes.len(), rest.len());
    let mut components: Vec<(String, Bytes)> = Vec::with_capacity(count);
    for (name, size) in sizes {
        if components.iter().any(|(other, _)| *other == name) {
            return Err(Failure::bad_request(format!("`{name}` is named twice")));
        }
        let fits = |size: &usize| *size > 0 && *size <= rest.len();
        let Some(bytes) = size.parse().ok().filter(fits) else {
            let text = format!(
                "`{name}`: expected a number of bytes, of which {} are left, found {size:?}",
                rest.len()
            );
            return Err(Failure::bad_request(text));
        };
        components.push((name, rest.split_to(bytes)));
    }
    match rest.len() {
        0 => Ok(components),
        more => Err(Failure::bad_request(format!(
            "the body has {total} bytes, {more} more than the {count} components together"
        ))),
    }
}

async fn read(request: Request<Body>, most: u64) -> Result<Bytes, Failure> {
    let too_large = || {
        let text = format!("the body is larger than the limit of {most} bytes");
        Failure(
            StatusCode::PAYLOAD_TOO_LARGE,
            Problem::new("too-large", text),
        )
    };
    let claimed = request.headers().get(header::CONTENT_LENGTH);
    let claimed = claimed.and_then(|length| length.to_str().ok()?.parse::<u64>().ok());
    if claimed.is_some_and(|length| length > most) {
        return Err(too_large());
    }
    let limit = usize::try_from(most).unwrap_or(usize::MAX);
    let reading = to_bytes(request.into_body(), limit);
    let bytes = match tokio::time::timeout(BODY_TIME_MAX, reading).await {
        Ok(Ok(bytes)) => bytes,
        // Without a length in advance, passing the limit is seen only here.
        Ok(Err(_)) if claimed.is_none() => return Err(too_large()),
        Ok(Err(error)) => {
            return Err(Failure::bad_request(format!("the body broke off: {error}")));
        }
        Err(_) => {
            let text = format!("the body did not arrive within {BODY_TIME_MAX:?}");
            return Err(Failure(
                StatusCode::REQUEST_TIMEOUT,
                Problem::new("too-slow", text),
            ));
        }
    };
    if bytes.is_empty() {
        let text = "expected a component as the body, found nothing";
        return Err(Failure::bad_request(text));
    }
    Ok(bytes)
}

//! Guard: which requests are looked at, before any route is.
//!
//! A page in a browser on this machine can send requests to loopback. It cannot choose the header
//! `Host` freely, nor leave out `Origin` on requests that change something; so both are checked, also
//! against names that were rebound to 127.0.0.1.

use std::net::IpAddr;

use axum::http::{HeaderMap, StatusCode, Uri, header};

use super::api::Problem;
use super::token::Token;

/// Refuses what a stranger's page may have sent.
pub(super) fn check_place(uri: &Uri, headers: &HeaderMap) -> Result<(), (StatusCode, Problem)> {
    let host = headers
        .get(header::HOST)
        .and_then(|host| host.to_str().ok());
    let named = [host, uri.authority().map(|authority| authority.as_str())];
    let foreign = named.into_iter().flatten().find(|host| !is_loopback(host));
    if foreign.is_some() || host.is_none() {
        let found = foreign.unwrap_or("none");
        let text = format!("expected a loopback name like 127.0.0.1 in `Host`, found {found:?}");
        return Err((StatusCode::FORBIDDEN, Problem::new("foreign-host", text)));
    }
    let same_origin = |origin: &str| origin.strip_prefix("http://") == host;
    let foreign_origin = match headers.get(header::ORIGIN) {
        Some(origin) => !origin.to_str().is_ok_and(same_origin),
        None => false,
    };
    let foreign_site = match headers.get("sec-fetch-site").map(|site| site.as_bytes()) {
        Some(site) => site != b"same-origin" && site != b"none",
        None => false,
    };
    if foreign_origin || foreign_site {
        let text = "requests from pages of another origin are refused; use `instar` or curl";
        return Err((StatusCode::FORBIDDEN, Problem::new("cross-origin", text)));
    }
    Ok(())
}

/// Refuses what does not carry the token; `file` says where it lies.
pub(super) fn check_token(
    headers: &HeaderMap,
    token: &Token,
    file: &str,
) -> Result<(), (StatusCode, Problem)> {
    let value = headers
        .get(header::AUTHORIZATION)
        .and_then(|value| value.to_str().ok());
    let (code, found) = match value.and_then(|value| value.split_once(' ')) {
        Some((scheme, given)) if scheme.eq_ignore_ascii_case("bearer") => {
            match token.matches(given.trim()) {
                true => return Ok(()),
                false => ("wrong-token", "another token (of an earlier start?)"),
            }
        }
        Some(_) => ("no-token", "another scheme"),
        None => ("no-token", "no token"),
    };
    let text =
        format!("expected `Authorization: Bearer TOKEN` with the token in {file}, found {found}");
    Err((StatusCode::UNAUTHORIZED, Problem::new(code, text)))
}

fn is_loopback(host: &str) -> bool {
    let name = match host.strip_prefix('[') {
        Some(rest) => match rest.split_once(']') {
            Some((v6, port)) if port.is_empty() || port.starts_with(':') => v6,
            _ => return false,
        },
        None => host.split_once(':').map_or(host, |(name, _)| name),
    };
    name.eq_ignore_ascii_case("localhost")
        || name
            .parse::<IpAddr>()
            .is_ok_and(|address| address.is_loopback())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn code(headers: &[(&'static str, &str)]) -> Option<String> {
        let mut map = HeaderMap::new();
        for (name, value) in headers {
            map.insert(*name, value.parse().unwrap());
        }
        let outcome = check_place(&Uri::from_static("/v1/status"), &map);
        outcome.err().map(|(_, problem)| problem.code)
    }

    #[test]
    fn only_loopback_names_are_answered() {
        for host in [
            "127.0.0.1:7078",
            "localhost",
            "LOCALHOST:1",
            "[::1]:7078",
            "127.9.9.9",
        ] {
            assert_eq!(code(&[("host", host)]), None, "{host}");
        }
        for host in [
            "evil.example:7078",
            "127.0.0.1.evil.example",
            "localhost.evil.example:7078",
            "[::1]evil",
            "[::2]",
            "10.0.0.1:7078",
            "",
        ] {
            assert_eq!(
                code(&[("host", host)]).as_deref(),
                Some("foreign-host"),
                "{host}"
            );
        }
        assert_eq!(code(&[]).as_deref(), Some("foreign-host"));
        let rebound = Uri::from_static("http://evil.example/v1/status");
        let mut headers = HeaderMap::new();
        headers.insert("host", "127.0.0.1".parse().unwrap());
        assert!(check_place(&rebound, &headers).is_err());
    }

    #[test]
    fn pages_of_another_origin_are_refused() {
        let host = ("host", "127.0.0.1:7078");
        assert_eq!(code(&[host, ("origin", "http://127.0.0.1:7078")]), None);
        assert_eq!(code(&[host, ("sec-fetch-site", "none")]), None);
        for foreign in [
            ("origin", "http://127.0.0.1:8080"),
            ("origin", "https://evil.example"),
            ("origin", "null"),
            ("sec-fetch-site", "cross-site"),
            ("sec-fetch-site", "same-site"),
        ] {
            assert_eq!(
                code(&[host, foreign]).as_deref(),
                Some("cross-origin"),
                "{foreign:?}"
            );
        }
    }

    #[test]
    fn the_token_is_needed_whole_and_in_its_scheme() {
        let token = Token::random();
        let check = |value: &str| {
            let mut headers = HeaderMap::new();
            headers.insert("authorization", value.parse().unwrap());
            check_token(&headers, &token, "FILE").map_err(|(_, problem)| problem.code)
        };
        assert_eq!(check(&token.header()), Ok(()));
        assert_eq!(check(&token.header().replace("Bearer", "bearer")), Ok(()));
        assert_eq!(check(&Token::random().header()), Err("wrong-token".into()));
        assert_eq!(check("Basic abc"), Err("no-token".into()));
        assert_eq!(check("Bearer"), Err("no-token".into()));
    }
}

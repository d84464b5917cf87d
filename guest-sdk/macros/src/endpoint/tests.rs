//! What does not compile, and what the author is told.

use super::*;

const START: &str = "#[on_start] fn s(ctx: &mut Context) -> Result<Self, Failure> {}";
const NAMED: &str = "name = \"a\", version = \"1.0.0\"";

fn check(arguments: &str, block: &str, expected: &str) {
    let block = syn::parse_str(block).unwrap();
    let refused = expand(arguments.parse().unwrap(), block).unwrap_err();
    let text = refused.to_string();
    assert!(text.contains(expected), "expected {expected:?} in {text:?}");
}

#[test]
fn arguments_that_do_not_fit_are_refused_with_what_would() {
    let block = format!("impl A {{ {START} }}");
    for (arguments, expected) in [
        ("version = \"1.0.0\"", "`name = \"...\"` is missing"),
        ("name = \"a\"", "`version = \"...\"` is missing"),
        ("name = \"a b\", version = \"1.0.0\"", "1 to 64 letters"),
        ("name = \".a\", version = \"1.0.0\"", "begins with no dot"),
        ("name = \"a\", version = \"1.0\"", "no semantic version"),
        ("name = \"a\", nome = \"b\"", "there are `name`"),
        ("entries(writes = 2)", "entries(writes = 2, reads = [1, 2])"),
        (
            "entries(writes = 2, reads = [1])",
            "must read what it wrote",
        ),
    ] {
        check(arguments, &block, expected);
    }
}

#[test]
fn handlers_that_do_not_fit_are_refused_with_the_form_that_would() {
    for (handler, expected) in [
        (
            "#[receive] fn f(&mut self, m: M) -> R {}",
            "fn(&mut self, ctx: &mut Context, message",
        ),
        (
            "#[receive] fn f(&mut self, c: C, m: M, k: K) -> R {}",
            "fn(&mut self, ctx: &mut",
        ),
        (
            "#[receive] async fn f(&mut self, c: C, m: M) -> R {}",
            "async fn(ctx: AsyncContext<Self>",
        ),
        (
            "#[on_reply] fn f(&mut self, c: C, m: M) -> R {}",
            "outcome: Result<Reply, Failure>",
        ),
        (
            "#[on_timer] async fn f(&mut self, c: C, m: M) -> R {}",
            "due: Message",
        ),
        (
            "#[on_started] fn f(&mut self, c: C) -> R {}",
            "unknown role; there are on_start",
        ),
        (
            "#[receive] #[on_timer] fn f(&mut self, c: C, m: M) -> R {}",
            "one role",
        ),
    ] {
        check(NAMED, &format!("impl A {{ {START} {handler} }}"), expected);
    }
}

#[test]
fn what_there_is_once_is_refused_twice() {
    for (handler, expected) in [
        ("#[on_start] fn t(c: C) -> R {}", "starts in one way only"),
        (
            "#[on_stop] fn f(&mut self, c: C) -> R {} #[on_stop] fn g(&mut self, c: C) -> R {}",
            "already",
        ),
        (
            "#[migrate_from(1)] fn f(o: O) -> R {}",
            "own `state_version`",
        ),
        (
            "#[migrate_to(2)] fn f(&self) -> R {} #[migrate_to(2)] fn g(&self) -> R {}",
            "already",
        ),
    ] {
        check(NAMED, &format!("impl A {{ {START} {handler} }}"), expected);
    }
}

#[test]
fn an_impl_that_is_no_endpoint_is_refused() {
    check(NAMED, "impl A {}", "how it starts is missing");
    check(NAMED, "impl T for A {}", "of no trait");
    check(NAMED, "impl<X> A<X> {}", "cannot be generic");
    check(
        NAMED,
        "impl A { #[on_start] async fn s(c: C) -> R {} }",
        "(ctx: &mut Context)",
    );
}

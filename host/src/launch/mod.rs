//! Launch: running components that endpoints of this host launched beside them.
//!
//! Before it: an endpoint whose turn has ended (`endpoint::launches`). After it: files of peers,
//! the engine, work folders. It does not know why something is launched, nor by whom a file was made.
//!
//! In the order of a launch: [`settings`] (bounds) - `workload` (does it make sense) - `folders` (where
//! it works) - `components` and `fetch` (its code, by hash) - `endpoints` or `command` (running it) -
//! `launcher` (the task of one launch, which joins them). `clean` removes what nobody needs any more.

pub mod settings;

mod workload;

pub(crate) mod folders;

mod components;

mod fetch;

mod endpoints;

mod command;

mod clean;

pub(crate) mod launcher;

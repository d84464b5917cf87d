//! Log lines: the backends of the crates `log` and `tracing` that write to the host's log.
//!
//! A plugin uses `log::info!` as anywhere else, or, with the feature `tracing`, `tracing::info!`. The
//! host adds the fields `endpoint` and `version`. Spans of `tracing` are not kept; the fields of
//! events are.

/// How much a log line matters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Level {
    /// For following single steps.
    Trace,
    /// For following single messages.
    Debug,
    /// The state of the endpoint changed.
    Info,
    /// Odd, and we went on.
    Warn,
    /// Something failed and someone must look.
    Error,
}

/// Installs the backends, once per process or instance. A logger that somebody else installed
/// before stays.
pub(crate) fn install() {
    #[cfg(feature = "log")]
    for_log::install();
    #[cfg(feature = "tracing")]
    for_tracing::install();
}

#[cfg(feature = "log")]
mod for_log {
    use super::Level;
    use crate::host;

    struct Backend;

    static BACKEND: Backend = Backend;

    pub(super) fn install() {
        if log::set_logger(&BACKEND).is_ok() {
            // The host decides for each line; it can change its mind while the endpoint runs.
            log::set_max_level(log::LevelFilter::Trace);
        }
    }

    impl log::Log for Backend {
        fn enabled(&self, metadata: &log::Metadata<'_>) -> bool {
            host::log_enabled(level(metadata.level()))
        }

        fn log(&self, record: &log::Record<'_>) {
            if self.enabled(record.metadata()) {
                let text = record.args().to_string();
                host::log(level(record.level()), record.target(), &text, &[]);
            }
        }

        fn flush(&self) {}
    }

    fn level(level: log::Level) -> Level {
        match level {
            log::Level::Trace => Level::Trace,
            log::Level::Debug => Level::Debug,
            log::Level::Info => Level::Info,
            log::Level::Warn => Level::Warn,
            log::Level::Error => Level::Error,
        }
    }
}

#[cfg(feature = "tracing")]
mod for_tracing {
    use std::fmt::{Debug, Write};
    use std::sync::atomic::{AtomicBool, Ordering};

    use tracing_core::field::{Field, Visit};
    use tracing_core::span::{Attributes, Id, Record};
    use tracing_core::subscriber::Interest;
    use tracing_core::{Dispatch, Event, Metadata, Subscriber, dispatcher};

    use super::Level;
    use crate::host;

    struct Backend;

    pub(super) fn install() {
        // A second try would only fail, but it would make a dispatcher each time.
        static TRIED: AtomicBool = AtomicBool::new(false);
        if !TRIED.swap(true, Ordering::Relaxed) {
            // Fails where somebody installed another subscriber, which then stays.
            let _ = dispatcher::set_global_default(Dispatch::new(Backend));
        }
    }

    impl Subscriber for Backend {
        fn register_callsite(&self, _: &'static Metadata<'static>) -> Interest {
            Interest::sometimes() // the host decides for each event
        }

        fn enabled(&self, metadata: &Metadata<'_>) -> bool {
            metadata.is_event() && host::log_enabled(level(metadata.level()))
        }

        fn event(&self, event: &Event<'_>) {
            let mut line = Line::default();
            event.record(&mut line);
            let metadata = event.metadata();
            host::log(
                level(metadata.level()),
                metadata.target(),
                &line.text,
                &line.fields,
            );
        }

        // Spans are never enabled, so what follows is never called with one that matters.
        fn new_span(&self, _: &Attributes<'_>) -> Id {
            Id::from_u64(1)
        }

        fn record(&self, _: &Id, _: &Record<'_>) {}

        fn record_follows_from(&self, _: &Id, _: &Id) {}

        fn enter(&self, _: &Id) {}

        fn exit(&self, _: &Id) {}
    }

    #[derive(Default)]
    struct Line {
        text: String,
        fields: Vec<(String, String)>,
    }

    impl Visit for Line {
        fn record_str(&mut self, field: &Field, value: &str) {
            if field.name() == "message" {
                self.text.push_str(value);
            } else {
                self.fields
                    .push((field.name().to_owned(), value.to_owned()));
            }
        }

        fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
            let mut text = String::new();
            // Fails only where the value's own Debug does; what was written so far is shown.
            let _ = write!(text, "{value:?}");
            self.record_str(field, &text);
        }
    }

    fn level(level: &tracing_core::Level) -> Level {
        match *level {
            tracing_core::Level::TRACE => Level::Trace,
            tracing_core::Level::DEBUG => Level::Debug,
            tracing_core::Level::INFO => Level::Info,
            tracing_core::Level::WARN => Level::Warn,
            _ => Level::Error,
        }
    }
}

//! Limiter: refuses an instance what is beyond its limits, and shows how much it uses.
//!
//! Before it: wasmtime asks it before a memory or table is made or grows. After it: everybody who
//! holds [`Used`].
//!
//! Invariants
//! 1. Several memories or tables count together: splitting gains nothing.
//! 2. What was refused is kept until the next call begins, so that a crash can say which limit it met.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use tokio::sync::Notify;
use wasmparser::{Instance, Parser, Payload};
use wasmtime::ResourceLimiter;
use wasmtime::component::{ResourceTable, ResourceTableError};

use crate::endpoint::settings::Limits;

/// Files, directories and streams that one instance may have open at once.
const RESOURCES_MAX: usize = 1024;

/// What one instance uses of its limits, for all who look, and the way to end it from outside.
#[derive(Debug, Default)]
pub(crate) struct Used {
    memory_bytes: AtomicUsize,
    table_elements: AtomicUsize,
    core_instances: AtomicUsize,
    longest_turn_micros: AtomicU64,
    killed: AtomicBool,
    kill_told: Notify,
}

impl Used {
    /// Linear memory, in bytes. Wasm never gives any back.
    pub(crate) fn memory_bytes(&self) -> usize {
        self.memory_bytes.load(Ordering::Relaxed)
    }

    /// Elements of all tables.
    pub(crate) fn table_elements(&self) -> usize {
        self.table_elements.load(Ordering::Relaxed)
    }

    /// Core instances that the component is made of.
    pub(crate) fn core_instances(&self) -> usize {
        self.core_instances.load(Ordering::Relaxed)
    }

    pub(super) fn note_core_instances(&self, count: usize) {
        self.core_instances.store(count, Ordering::Relaxed);
    }

    /// The longest turn so far, as its limit counts it: in ticks of the engine's clock. What takes
    /// less than a tick shows as nothing.
    pub(crate) fn longest_turn(&self) -> Duration {
        Duration::from_micros(self.longest_turn_micros.load(Ordering::Relaxed))
    }

    /// Ends the running call of the instance, as if its time were over.
    pub(crate) fn kill(&self) {
        self.killed.store(true, Ordering::Release);
        self.kill_told.notify_waiters();
    }

    pub(super) fn is_killed(&self) -> bool {
        self.killed.load(Ordering::Acquire)
    }

    /// Waits until the running call is to end.
    pub(super) async fn killed(&self) {
        let told = self.kill_told.notified();
        tokio::pin!(told);
        told.as_mut().enable();
        if !self.is_killed() {
            told.await;
        }
    }

    pub(super) fn note_turn(&self, took: Duration) {
        let micros = u64::try_from(took.as_micros()).unwrap_or(u64::MAX);
        self.longest_turn_micros
            .fetch_max(micros, Ordering::Relaxed);
    }
}

/// Refuses what is beyond the limits.
pub(super) struct Limiter {
    memory_bytes: usize,
    table_elements: usize,
    core_instances: usize,
    used: Arc<Used>,
    refused: Option<String>,
}

impl Limiter {
    pub(super) fn new(limits: &Limits) -> Self {
        Self {
            memory_bytes: limits.memory_bytes,
            table_elements: limits.table_elements,
            core_instances: limits.core_instances,
            used: Arc::default(),
            refused: None,
        }
    }

    pub(super) fn used(&self) -> &Arc<Used> {
        &self.used
    }

    pub(super) fn memory_limit(&self) -> usize {
        self.memory_bytes
    }

    /// What was refused since the last call of [`Limiter::forget_refused`], as a sentence.
    pub(super) fn refused(&self) -> Option<&str> {
        self.refused.as_deref()
    }

    pub(super) fn forget_refused(&mut self) {
        self.refused = None;
    }

    /// What a refusal of wasmtime means here: of one more core instance, or of one more resource.
    pub(super) fn too_many(&self, reason: &str) -> Option<String> {
        if reason.contains("instance count too high") {
            let limit = self.core_instances;
            return Some(refusal("core instances", limit, "core_instances"));
        }
        let of_resources = reason.contains(&ResourceTableError::Full.to_string());
        of_resources.then(|| refusal("open files and streams", RESOURCES_MAX, "resources"))
    }
}

/// A table for what an instance has open, which ends long before the file descriptors of the host do.
pub(super) fn resource_table() -> ResourceTable {
    let mut table = ResourceTable::new();
    table.set_max_capacity(RESOURCES_MAX);
    table
}

fn refusal(what: &str, limit: usize, setting: &str) -> String {
    format!("it wanted more than {limit} {what} (limit `{setting}`)")
}

/// Counts one memory or table, unless all together would be more than `limit`.
fn grow(used: &AtomicUsize, limit: usize, current: usize, desired: usize) -> bool {
    let others = used.load(Ordering::Relaxed).saturating_sub(current);
    let together = others.saturating_add(desired);
    if together > limit {
        return false;
    }
    used.store(together, Ordering::Relaxed);
    true
}

impl ResourceLimiter for Limiter {
    fn memory_growing(
        &mut self,
        current: usize,
        desired: usize,
        maximum: Option<usize>,
    ) -> wasmtime::Result<bool> {
        // Beyond its own maximum wasmtime refuses by itself: nothing to count.
        if maximum.is_some_and(|maximum| desired > maximum) {
            return Ok(true);
        }
        let limit = self.memory_bytes;
        let may = grow(&self.used.memory_bytes, limit, current, desired);
        if !may {
            self.refused = Some(refusal("bytes of memory", limit, "memory"));
        }
        Ok(may)
    }

    fn table_growing(
        &mut self,
        current: usize,
        desired: usize,
        maximum: Option<usize>,
    ) -> wasmtime::Result<bool> {
        if maximum.is_some_and(|maximum| desired > maximum) {
            return Ok(true);
        }
        let limit = self.table_elements;
        let may = grow(&self.used.table_elements, limit, current, desired);
        if !may {
            self.refused = Some(refusal("table elements", limit, "table_elements"));
        }
        Ok(may)
    }

    fn instances(&self) -> usize {
        self.core_instances
    }
}

/// Core instances that a component makes of the modules in it. A component within it counts once.
pub(super) fn core_instances(component: &[u8]) -> usize {
    let sections = Parser::new(0).parse_all(component).map_while(Result::ok);
    let instances = sections.filter_map(|section| match section {
        Payload::InstanceSection(instances) => Some(instances.into_iter()),
        _ => None,
    });
    let made =
        |instance: &Result<Instance<'_>, _>| matches!(instance, Ok(Instance::Instantiate { .. }));
    instances.flatten().filter(made).count()
}

#[cfg(test)]
mod tests {
    use wasmtime::{Memory, MemoryType, Ref, RefType, Store, Table, TableType};

    use super::*;

    fn store(limits: &Limits) -> Store<Limiter> {
        let engine = wasmtime::Engine::default();
        let mut store = Store::new(&engine, Limiter::new(limits));
        store.limiter(|limiter| limiter);
        store
    }

    #[test]
    fn a_table_grows_to_the_limit_and_one_more_is_refused_by_name() {
        let mut store = store(&Limits {
            table_elements: 100,
            ..Limits::default()
        });
        let kind = || TableType::new(RefType::FUNCREF, 10, None);
        let table = Table::new(&mut store, kind(), Ref::Func(None)).unwrap();
        table.grow(&mut store, 80, Ref::Func(None)).unwrap();
        assert_eq!(store.data().refused(), None);
        assert!(table.grow(&mut store, 11, Ref::Func(None)).is_err());
        let refused = store.data().refused().unwrap();
        assert_eq!(
            refused,
            "it wanted more than 100 table elements (limit `table_elements`)"
        );
        // A second table is no way around it.
        Table::new(&mut store, kind(), Ref::Func(None)).unwrap();
        assert!(Table::new(&mut store, kind(), Ref::Func(None)).is_err());
        assert_eq!(store.data().used().table_elements(), 100);
    }

    #[test]
    fn memories_count_together_and_a_refusal_names_the_limit() {
        let mut store = store(&Limits {
            memory_bytes: 4 << 16,
            ..Limits::default()
        });
        let memory = Memory::new(&mut store, MemoryType::new(1, Some(3))).unwrap();
        let other = Memory::new(&mut store, MemoryType::new(1, None)).unwrap();
        // Beyond its own maximum: refused, but not by the limit.
        assert!(memory.grow(&mut store, 3).is_err());
        assert_eq!(store.data().refused(), None);
        memory.grow(&mut store, 2).unwrap();
        assert!(other.grow(&mut store, 1).is_err());
        assert!(store.data().refused().unwrap().contains("limit `memory`"));
        assert_eq!(store.data().used().memory_bytes(), 4 << 16);
        store.data_mut().forget_refused();
        assert_eq!(store.data().refused(), None);
    }

    #[test]
    fn what_is_no_component_has_no_instances() {
        for bytes in [
            &b""[..],
            b"\0asm\x0d\0\x01\0",
            b"noise",
            b"\0asm\x0d\0\x01\0\x02\xff\xff",
        ] {
            assert_eq!(core_instances(bytes), 0);
        }
    }
}

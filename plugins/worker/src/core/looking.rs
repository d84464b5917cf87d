//! Looking: what people are shown of this worker.

use std::collections::BTreeMap;

use deploy_protocol::WorkerStateResponse;

use super::{Core, resources};

/// What is in use and what there is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Usage {
    /// Executors that have not ended.
    pub executors: u32,
    /// Cores in use.
    pub cores_used: u32,
    /// Cores that are free.
    pub cores_free: u32,
    /// Memory in use, in MB.
    pub memory_used_mb: u32,
    /// Memory that is free, in MB.
    pub memory_free_mb: u32,
}

impl Core {
    /// All that there is to know.
    pub fn look(&self) -> WorkerStateResponse {
        let usage = self.usage();
        let adopted = self.adopted.as_ref();
        WorkerStateResponse {
            host: self.identity.host.clone(),
            port: self.identity.port,
            worker_id: self.identity.id.clone(),
            executors: self.executors.values().map(|e| e.info.clone()).collect(),
            finished_executors: self.finished_executors.iter().cloned().collect(),
            drivers: self.drivers.values().map(|d| d.info.clone()).collect(),
            finished_drivers: self.finished_drivers.iter().cloned().collect(),
            master: adopted.map(|adopted| adopted.master.clone()),
            master_web_ui_url: adopted.map_or_else(String::new, |a| a.web_ui_url.clone()),
            connected: self.registration.registered && adopted.is_some_and(|a| a.connected),
            decommissioned: self.decommissioned,
            cores: self.settings.cores,
            cores_used: usage.cores_used,
            memory_mb: self.settings.memory_mb,
            memory_used_mb: usage.memory_used_mb,
            resources: self.settings.resources.clone(),
            resources_used: self.resources_used(),
        }
    }

    /// Counted from what runs, so that it cannot drift from it.
    pub fn usage(&self) -> Usage {
        let executors = self.executors.values().map(|executor| {
            let of = &executor.info.description;
            (of.cores, of.memory_mb)
        });
        let drivers = self.drivers.values().map(|driver| {
            let of = &driver.info.description;
            (of.cores, of.memory_mb)
        });
        let (cores_used, memory_used_mb) = executors
            .chain(drivers)
            .fold((0_u32, 0_u32), |(cores, memory), (c, m)| {
                (cores.saturating_add(c), memory.saturating_add(m))
            });
        Usage {
            executors: u32::try_from(self.executors.len()).unwrap_or(u32::MAX),
            cores_used,
            cores_free: self.settings.cores.saturating_sub(cores_used),
            memory_used_mb,
            memory_free_mb: self.settings.memory_mb.saturating_sub(memory_used_mb),
        }
    }

    fn resources_used(&self) -> BTreeMap<String, Vec<String>> {
        let executors = self.executors.values().flat_map(|e| &e.resources);
        let drivers = self.drivers.values().flat_map(|d| &d.resources);
        resources::together(executors.chain(drivers))
    }
}

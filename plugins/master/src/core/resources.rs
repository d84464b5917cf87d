//! Resources: what a worker offers beside cores and memory, address by address.
//!
//! Invariant: an address is given to one executor or driver at a time.

use std::collections::{BTreeMap, BTreeSet};

use deploy_protocol::{ResourceInformation, ResourceRequirement};
use serde::{Deserialize, Serialize};

/// The named resources of a worker.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Resources {
    pools: BTreeMap<String, Pool>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
struct Pool {
    free: BTreeSet<String>,
    taken: BTreeSet<String>,
}

impl Resources {
    /// All of them free. What is listed twice is there once.
    pub fn offered(offer: Vec<ResourceInformation>) -> Self {
        let mut pools: BTreeMap<String, Pool> = BTreeMap::new();
        for resource in offer {
            let pool = pools.entry(resource.name).or_default();
            pool.free.extend(resource.addresses);
        }
        Self { pools }
    }

    /// How many times as much as `needed` is free.
    pub fn times(&self, needed: &[ResourceRequirement]) -> u32 {
        let times = needed.iter().map(|need| {
            let free = self.pools.get(&need.name).map_or(0, |pool| pool.free.len());
            let free = u32::try_from(free).unwrap_or(u32::MAX);
            free.checked_div(need.amount).unwrap_or(u32::MAX)
        });
        times.min().unwrap_or(u32::MAX)
    }

    /// Free addresses, all names together.
    pub fn free(&self) -> usize {
        self.pools.values().map(|pool| pool.free.len()).sum()
    }

    /// Takes the first free addresses of each. None, and nothing taken, where there are too few.
    pub fn take(&mut self, needed: &[ResourceRequirement]) -> Option<Vec<ResourceInformation>> {
        let mut taken = Vec::new();
        for need in needed {
            match self.take_one(need) {
                Some(resource) => taken.push(resource),
                None => {
                    self.give_back(&taken);
                    return None;
                }
            }
        }
        Some(taken)
    }

    fn take_one(&mut self, need: &ResourceRequirement) -> Option<ResourceInformation> {
        let amount = usize::try_from(need.amount).unwrap_or(usize::MAX);
        let free = self.pools.get(&need.name).map_or(0, |pool| pool.free.len());
        if free < amount {
            return None;
        }
        let mut addresses = Vec::new();
        if let Some(pool) = self.pools.get_mut(&need.name) {
            for _ in 0..amount {
                let Some(address) = pool.free.pop_first() else {
                    break;
                };
                pool.taken.insert(address.clone());
                addresses.push(address);
            }
        }
        Some(ResourceInformation {
            name: need.name.clone(),
            addresses,
        })
    }

    /// Takes these very addresses, as far as they are free: what a worker says that it gave away.
    /// Returns what was taken.
    pub fn take_named(&mut self, named: Vec<ResourceInformation>) -> Vec<ResourceInformation> {
        let mut taken = Vec::new();
        for mut resource in named {
            let pool = self.pools.get_mut(&resource.name);
            resource.addresses = match pool {
                None => Vec::new(),
                Some(pool) => {
                    let mine = |address: &String| pool.free.remove(address);
                    let addresses: Vec<String> =
                        resource.addresses.into_iter().filter(mine).collect();
                    pool.taken.extend(addresses.iter().cloned());
                    addresses
                }
            };
            taken.push(resource);
        }
        taken
    }

    /// Frees addresses that were taken.
    pub fn give_back(&mut self, resources: &[ResourceInformation]) {
        for resource in resources {
            let Some(pool) = self.pools.get_mut(&resource.name) else {
                continue;
            };
            for address in &resource.addresses {
                if let Some(address) = pool.taken.take(address) {
                    pool.free.insert(address);
                }
            }
        }
    }

    /// All addresses, for people and for the store.
    pub fn all(&self) -> Vec<ResourceInformation> {
        self.list(|pool| pool.free.union(&pool.taken).cloned().collect())
    }

    /// The addresses that are taken, for people.
    pub fn used(&self) -> Vec<ResourceInformation> {
        self.list(|pool| pool.taken.iter().cloned().collect())
    }

    fn list(&self, addresses: impl Fn(&Pool) -> Vec<String>) -> Vec<ResourceInformation> {
        let named = self.pools.iter().map(|(name, pool)| ResourceInformation {
            name: name.clone(),
            addresses: addresses(pool),
        });
        named.collect()
    }
}

/// Each name once, where it stands first, with all that is needed of it.
pub fn merge(needed: &mut Vec<ResourceRequirement>) {
    let mut amounts: BTreeMap<String, u32> = BTreeMap::new();
    for need in needed.iter() {
        let amount = amounts.entry(need.name.clone()).or_default();
        *amount = amount.saturating_add(need.amount);
    }
    needed.retain_mut(|need| match amounts.remove(&need.name) {
        Some(amount) => {
            need.amount = amount;
            true
        }
        None => false,
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    fn gpus(addresses: &[&str]) -> Vec<ResourceInformation> {
        vec![ResourceInformation {
            name: "gpu".to_owned(),
            addresses: addresses
                .iter()
                .map(|&address| address.to_owned())
                .collect(),
        }]
    }

    fn need(amount: u32) -> Vec<ResourceRequirement> {
        vec![ResourceRequirement {
            name: "gpu".to_owned(),
            amount,
        }]
    }

    #[test]
    fn an_address_is_given_to_one_at_a_time() {
        let mut resources = Resources::offered(gpus(&["0", "1", "2"]));
        assert_eq!(resources.times(&need(0)), u32::MAX);
        let first = resources.take(&need(2)).unwrap();
        assert_eq!(resources.times(&need(1)), 1);
        assert_eq!(
            resources.take(&need(2)),
            None,
            "nothing is taken of too little"
        );
        let second = resources.take(&need(1)).unwrap();
        assert_eq!((first, second.clone()), (gpus(&["0", "1"]), gpus(&["2"])));
        resources.give_back(&second);
        resources.give_back(&second);
        assert_eq!(resources.used(), gpus(&["0", "1"]));
    }

    #[test]
    fn what_a_worker_says_it_gave_away_is_taken_once() {
        let mut resources = Resources::offered(gpus(&["0", "1"]));
        assert_eq!(resources.take_named(gpus(&["1", "9"])), gpus(&["1"]));
        assert_eq!(resources.take_named(gpus(&["1"])), gpus(&[]));
        assert_eq!(resources.all(), gpus(&["0", "1"]));
    }
}

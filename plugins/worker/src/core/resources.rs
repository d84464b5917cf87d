//! Resources: named things beside cores and memory, of which a worker has some addresses each.

use std::collections::BTreeMap;

use deploy_protocol::ResourceInformation;

use super::settings::wrong;

/// Reads `{"gpu": ["0", "1"], "fpga": ["f0"]}`.
pub(super) fn read(text: &str) -> Result<BTreeMap<String, Vec<String>>, String> {
    let refused = |reason: &str| {
        let expected = "JSON like {\"gpu\": [\"0\", \"1\"]}, each address once";
        format!("{}: {reason}", wrong("resources", text, expected))
    };
    let resources: BTreeMap<String, Vec<String>> =
        serde_json::from_str(text).map_err(|error| refused(&error.to_string()))?;
    for (name, addresses) in &resources {
        let mut sorted = addresses.clone();
        sorted.sort();
        sorted.dedup();
        if name.is_empty() || addresses.is_empty() || sorted.len() != addresses.len() {
            return Err(refused(&format!(
                "`{name}` has no name, no address, or one twice"
            )));
        }
    }
    Ok(resources)
}

/// As a master is told of them.
pub(super) fn listed(resources: &BTreeMap<String, Vec<String>>) -> Vec<ResourceInformation> {
    let of = |(name, addresses): (&String, &Vec<String>)| ResourceInformation {
        name: name.clone(),
        addresses: addresses.clone(),
    };
    resources.iter().map(of).collect()
}

/// All of them together, in order of address.
pub(super) fn together<'a>(
    resources: impl Iterator<Item = &'a ResourceInformation>,
) -> BTreeMap<String, Vec<String>> {
    let mut all: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for resource in resources {
        let addresses = all.entry(resource.name.clone()).or_default();
        addresses.extend(resource.addresses.iter().cloned());
    }
    all.values_mut().for_each(|addresses| addresses.sort());
    all
}

/// As a workload is told of them: JSON, or nothing where it has none.
pub(super) fn json(resources: &[ResourceInformation]) -> Option<String> {
    if resources.is_empty() {
        return None;
    }
    let all = together(resources.iter());
    serde_json::to_string(&all).ok()
}

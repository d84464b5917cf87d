//! Kept: what the store knows without reading its file: sizes, and what waits to be durable.
//!
//! Invariant: what an endpoint counts as keeping is what it will keep if all that waits is written.

use std::collections::{BTreeMap, HashMap};

use bytes::Bytes;

use super::writes::Usage;

/// Of all endpoints.
#[derive(Debug, Default)]
pub(super) struct Kept {
    endpoints: HashMap<String, OfEndpoint>,
    last: u64,
}

/// Sizes of the values of one endpoint, by name.
pub(super) type Sizes = BTreeMap<String, usize>;

#[derive(Debug, Default)]
struct OfEndpoint {
    durable: Sizes,
    /// The last write of each name that waits, with its number.
    waiting: BTreeMap<String, (u64, Option<Bytes>)>,
    usage: Usage,
}

impl Kept {
    /// Takes over what is durable; what waits goes on waiting.
    pub(super) fn found(&mut self, sizes: HashMap<String, Sizes>) {
        for of in self.endpoints.values_mut() {
            of.durable.clear();
        }
        for (endpoint, durable) in sizes {
            self.endpoints.entry(endpoint).or_default().durable = durable;
        }
        for of in self.endpoints.values_mut() {
            of.count();
        }
    }

    /// [`Kept::found`], of one endpoint.
    pub(super) fn found_of(&mut self, endpoint: &str, durable: Sizes) {
        let of = self.endpoints.entry(endpoint.to_owned()).or_default();
        of.durable = durable;
        of.count();
    }

    /// Notes a write that waits from now on, and numbers it.
    pub(super) fn begin(
        &mut self,
        endpoint: &str,
        writes: &BTreeMap<String, Option<Bytes>>,
    ) -> u64 {
        self.last += 1;
        let of = match self.endpoints.get_mut(endpoint) {
            Some(of) => of,
            None => self.endpoints.entry(endpoint.to_owned()).or_default(),
        };
        for (name, value) in writes {
            let before = of.size_of(name);
            of.usage
                .replace(name, before, value.as_ref().map(Bytes::len));
            of.waiting.insert(name.clone(), (self.last, value.clone()));
        }
        self.last
    }

    /// A write is durable, or has failed.
    pub(super) fn end(
        &mut self,
        endpoint: &str,
        number: u64,
        writes: &BTreeMap<String, Option<Bytes>>,
        durable: bool,
    ) {
        let Some(of) = self.endpoints.get_mut(endpoint) else {
            return;
        };
        for (name, value) in writes {
            if of
                .waiting
                .get(name)
                .is_some_and(|(last, _)| *last == number)
            {
                of.waiting.remove(name);
            }
            match value {
                _ if !durable => {}
                Some(value) => drop(of.durable.insert(name.clone(), value.len())),
                None => drop(of.durable.remove(name)),
            }
        }
        if !durable {
            of.count();
        }
    }

    pub(super) fn size_of(&self, endpoint: &str, name: &str) -> Option<usize> {
        self.endpoints.get(endpoint)?.size_of(name)
    }

    /// Whether there is a durable value of this name, whatever waits.
    pub(super) fn is_durable(&self, endpoint: &str, name: &str) -> bool {
        let of = self.endpoints.get(endpoint);
        of.is_some_and(|of| of.durable.contains_key(name))
    }

    /// The number of the last write that began.
    pub(super) fn last(&self) -> u64 {
        self.last
    }

    pub(super) fn usage(&self, endpoint: &str) -> Usage {
        self.endpoints
            .get(endpoint)
            .map_or_else(Usage::default, |of| of.usage)
    }

    /// What waits of the names that begin with `prefix`.
    pub(super) fn waiting(&self, endpoint: &str, prefix: &str) -> Vec<(String, Option<Bytes>)> {
        let Some(of) = self.endpoints.get(endpoint) else {
            return Vec::new();
        };
        let from = of.waiting.range(prefix.to_owned()..);
        from.take_while(|(name, _)| name.starts_with(prefix))
            .map(|(name, (_, value))| (name.clone(), value.clone()))
            .collect()
    }
}

impl OfEndpoint {
    fn size_of(&self, name: &str) -> Option<usize> {
        match self.waiting.get(name) {
            Some((_, value)) => value.as_ref().map(Bytes::len),
            None => self.durable.get(name).copied(),
        }
    }

    /// Counts everything once more.
    fn count(&mut self) {
        let mut usage = Usage::default();
        for (name, size) in &self.durable {
            usage.replace(name, None, Some(*size));
        }
        for (name, (_, value)) in &self.waiting {
            let before = self.durable.get(name).copied();
            usage.replace(name, before, value.as_ref().map(Bytes::len));
        }
        self.usage = usage;
    }
}

impl Usage {
    /// A value of one size took the place of one of another.
    fn replace(&mut self, name: &str, before: Option<usize>, after: Option<usize>) {
        let cost = |size: Option<usize>| size.map_or(0, |size| name.len() + size);
        self.entries = self.entries + usize::from(after.is_some()) - usize::from(before.is_some());
        self.bytes = self.bytes + cost(after) - cost(before);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn writes(of: &[(&str, Option<&'static str>)]) -> BTreeMap<String, Option<Bytes>> {
        of.iter()
            .map(|(name, value)| ((*name).to_owned(), value.map(Bytes::from)))
            .collect()
    }

    fn usage(entries: usize, bytes: usize) -> Usage {
        Usage { entries, bytes }
    }

    #[test]
    fn what_waits_counts_and_what_failed_does_not() {
        let mut kept = Kept::default();
        let first = writes(&[("a", Some("12")), ("b", Some("1234"))]);
        let one = kept.begin("e", &first);
        assert_eq!(kept.usage("e"), usage(2, 8));
        kept.end("e", one, &first, true);
        let (second, third) = (writes(&[("a", None)]), writes(&[("a", Some("123"))]));
        let two = kept.begin("e", &second);
        assert_eq!(kept.usage("e"), usage(1, 5));
        let three = kept.begin("e", &third);
        assert_eq!(kept.usage("e"), usage(2, 9));
        kept.end("e", two, &second, true);
        assert_eq!(kept.size_of("e", "a"), Some(3), "the later write waits");
        kept.end("e", three, &third, false);
        assert_eq!(kept.size_of("e", "a"), None);
        assert_eq!(kept.usage("e"), usage(1, 5));
        assert_eq!(kept.usage("f"), Usage::default());
    }

    #[test]
    fn what_waits_is_found_by_prefix() {
        let mut kept = Kept::default();
        kept.begin(
            "e",
            &writes(&[("app_1", Some("1")), ("app_2", None), ("b", None)]),
        );
        let found = kept.waiting("e", "app_");
        let names: Vec<_> = found.iter().map(|(name, _)| name.as_str()).collect();
        assert_eq!(names, ["app_1", "app_2"]);
        assert!(kept.waiting("f", "").is_empty());
    }
}

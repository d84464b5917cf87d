//! Packet: what a write costs of the one packet in which a commit has to fit. Pure.
//!
//! A server drops the connection of who sends more than its `jute.maxbuffer` at once, so we never do.

use crate::store::limits::ZOOKEEPER_TURN_BYTES_MAX;
use crate::zookeeper::connect_string::ConnectString;

/// What a server takes at once, unless it is told otherwise: the default of `jute.maxbuffer`.
pub(super) const PACKET_BYTES_MAX: usize = 0xf_ffff;

/// For what is in each commit: its head, the check of the fence, and the tag. A path in it may have some
/// thousand bytes.
const COMMON_BYTES: usize = 16 << 10;

const _: () = assert!(ZOOKEEPER_TURN_BYTES_MAX + COMMON_BYTES <= PACKET_BYTES_MAX);

/// What an operation costs beside path and data, at most: its head, lengths, version or flags, the ACL.
const OPERATION_BYTES: usize = 64;

/// What it costs to write a value of `value` bytes under a node with this path.
pub(super) fn cost(path: usize, value: usize) -> usize {
    OPERATION_BYTES.saturating_add(path).saturating_add(value)
}

/// The bytes of the chroot in an address, which servers see in front of each path. An address that is none
/// has none.
pub(super) fn chroot_bytes(url: &str) -> usize {
    let chroot = ConnectString::parse(url).map(|read| read.chroot);
    chroot.ok().flatten().map_or(0, |chroot| chroot.len())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::limits::ZOOKEEPER_VALUE_BYTES_MAX;

    #[test]
    fn the_largest_value_has_room_for_the_longest_name() {
        assert!(cost(4096, ZOOKEEPER_VALUE_BYTES_MAX) <= ZOOKEEPER_TURN_BYTES_MAX);
    }

    #[test]
    fn a_chroot_is_found_behind_any_servers() {
        assert_eq!(chroot_bytes("a:1,b:2"), 0);
        assert_eq!(chroot_bytes("a:1,b:2/"), 0, "it is the root");
        assert_eq!(chroot_bytes("a:1,b:2/c/d"), 4);
        assert_eq!(chroot_bytes("tcp+tls://a:1,tcp+tls://b:2"), 0);
        assert_eq!(chroot_bytes("tcp+tls://a:1,tcp+tls://b:2/c"), 2);
    }
}

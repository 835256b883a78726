//! What is around an IP packet on its link.

use super::{Layer, short};

const ETHERTYPE_IPV4: u16 = 0x0800;
const ETHERTYPE_IPV6: u16 = 0x86dd;

/// Opens the link layer of a type of the tcpdump registry.
pub(super) fn open(link_type: u32, bytes: &[u8]) -> Layer<'_> {
    match link_type {
        // BSD loopback: an address family in the byte order of the capturing machine.
        0 | 108 => bytes.get(4..).map_or(Layer::Malformed, |rest| family(&bytes[..4], rest)),
        1 => typed(bytes, 12, 14),
        // Raw IP has more than one number, for historical reasons.
        12 | 14 | 101 | 228 | 229 => Layer::Ip(bytes),
        113 => typed(bytes, 14, 16),
        276 => typed(bytes, 0, 20),
        _ => Layer::Malformed,
    }
}

/// Opens what follows a header that has an EtherType somewhere.
fn typed(bytes: &[u8], type_index: usize, header: usize) -> Layer<'_> {
    match (short(bytes, type_index), bytes.get(header..)) {
        (Some(kind), Some(rest)) => ether(kind, rest),
        _ => Layer::Malformed,
    }
}

fn ether(mut kind: u16, mut bytes: &[u8]) -> Layer<'_> {
    loop {
        match kind {
            ETHERTYPE_IPV4 | ETHERTYPE_IPV6 => return Layer::Ip(bytes),
            // Tags of VLANs, possibly several (IEEE 802.1Q, 802.1ad).
            0x8100 | 0x88a8 | 0x9100 | 0x9200 => match (short(bytes, 2), bytes.get(4..)) {
                (Some(inner), Some(rest)) => (kind, bytes) = (inner, rest),
                _ => return Layer::Malformed,
            },
            // PPPoE (RFC 2516): six bytes, and then PPP, whose protocol may be compressed into
            // one byte (RFC 1661, section 6.5).
            0x8864 => {
                return match bytes.get(6..) {
                    Some([0x00, 0x21 | 0x57, rest @ ..] | [0x21 | 0x57, rest @ ..]) => {
                        Layer::Ip(rest)
                    }
                    Some([_, _, ..]) => Layer::Other,
                    _ => Layer::Malformed,
                };
            }
            // MPLS (RFC 3032): labels up to the one that says it is the last.
            0x8847 | 0x8848 => {
                let last = bytes.chunks_exact(4).position(|label| label[2] & 1 == 1);
                let rest = last.and_then(|index| bytes.get(index * 4 + 4..));
                return match rest {
                    Some(rest @ [first, ..]) if matches!(first >> 4, 4 | 6) => Layer::Ip(rest),
                    Some(_) => Layer::Other,
                    None => Layer::Malformed,
                };
            }
            _ => return Layer::Other,
        }
    }
}

fn family<'a>(family: &[u8], rest: &'a [u8]) -> Layer<'a> {
    // The family is small, so that one of the two ends is zero.
    let number = if family[0] == 0 && family[1] == 0 { family[3] } else { family[0] };
    match number {
        // IPv4, and IPv6 by the numbers of the several BSDs and of Linux.
        2 | 10 | 23 | 24 | 28 | 30 => Layer::Ip(rest),
        _ => Layer::Other,
    }
}

//! What the kernel says of an IOMMU: the IOVAs that may be mapped.
//!
//! Owns the walk of the capability chain. Invariant: every offset and count in it is checked
//! against the buffer; ranges are handed out in ascending order and do not overlap. The window of
//! MSIs (0xFEE0_0000 on x86) and what firmware reserved are left out by the kernel itself.
//!
//! Source: linux/vfio.h, `struct vfio_iommu_type1_info` and its capabilities. All fields are in the
//! machine's order, which is little-endian wherever this driver is built.

use faam_hwif::Iova;
use thiserror::Error;
use vfio_bindings::bindings::vfio::{VFIO_IOMMU_INFO_CAPS, VFIO_IOMMU_TYPE1_INFO_CAP_IOVA_RANGE};

use super::super::IovaRange;

/// `flags`, at 4.
const FLAGS: usize = 4;
/// `cap_offset`, at 16.
const CAP_OFFSET: usize = 16;
/// Length of the structure, and where the first capability can lie.
const INFO_BYTES_MIN: usize = 24;
/// Length of a capability's header: `id u16, version u16, next u32`.
const CAP_HEADER: usize = 8;
/// `nr_iovas u32, reserved u32` of the range capability, before its `{start u64, end u64}`.
const RANGES: usize = CAP_HEADER + 8;
/// Capabilities followed at most: the kernel has three.
const CAPS_MAX: usize = 16;

/// The description cannot be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub(super) enum BadIommuInfo {
    /// Something in it lies outside it.
    #[error("field at {at} lies outside the kernel's description of the IOMMU")]
    Outside { at: usize },
    /// No list of ranges.
    #[error("the kernel lists no IOVA ranges: Linux 5.4 or newer is needed")]
    NoRanges,
    /// A list that does not ascend.
    #[error("the kernel's IOVA ranges do not ascend")]
    Order,
}

/// The ranges in a description as VFIO_IOMMU_GET_INFO wrote it.
pub(super) fn ranges(info: &[u8]) -> Result<Vec<IovaRange>, BadIommuInfo> {
    if u32_at(info, FLAGS)? & VFIO_IOMMU_INFO_CAPS == 0 {
        return Err(BadIommuInfo::NoRanges);
    }
    let mut at = usize_at(info, CAP_OFFSET)?;
    for _ in 0..CAPS_MAX {
        if at < INFO_BYTES_MIN {
            break;
        }
        let id = u32_at(info, at)? & 0xFFFF;
        if id == VFIO_IOMMU_TYPE1_INFO_CAP_IOVA_RANGE {
            return read_ranges(info, at);
        }
        at = usize_at(info, at.saturating_add(4))?;
    }
    Err(BadIommuInfo::NoRanges)
}

fn read_ranges(info: &[u8], at: usize) -> Result<Vec<IovaRange>, BadIommuInfo> {
    let count = usize_at(info, at.saturating_add(CAP_HEADER))?;
    let mut ranges: Vec<IovaRange> = Vec::new();
    for number in 0..count {
        // A count that lies ends at the buffer's end.
        let start = at
            .saturating_add(RANGES)
            .saturating_add(number.saturating_mul(16));
        let range = IovaRange {
            first: Iova(u64_at(info, start)?),
            last: Iova(u64_at(info, start.saturating_add(8))?),
        };
        let ascends = range.first <= range.last
            && ranges.last().is_none_or(|before| before.last < range.first);
        if !ascends {
            return Err(BadIommuInfo::Order);
        }
        ranges.push(range);
    }
    match ranges.is_empty() {
        true => Err(BadIommuInfo::NoRanges),
        false => Ok(ranges),
    }
}

fn bytes_at<const N: usize>(info: &[u8], at: usize) -> Result<[u8; N], BadIommuInfo> {
    info.get(at..)
        .and_then(|rest| rest.first_chunk())
        .copied()
        .ok_or(BadIommuInfo::Outside { at })
}

fn u32_at(info: &[u8], at: usize) -> Result<u32, BadIommuInfo> {
    bytes_at(info, at).map(u32::from_le_bytes)
}

fn usize_at(info: &[u8], at: usize) -> Result<usize, BadIommuInfo> {
    usize::try_from(u32_at(info, at)?).map_err(|_| BadIommuInfo::Outside { at })
}

fn u64_at(info: &[u8], at: usize) -> Result<u64, BadIommuInfo> {
    bytes_at(info, at).map(u64::from_le_bytes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// What an x86 machine with VT-d says: all below the MSI window, all above it.
    const USUAL: [(u64, u64); 2] = [(0, 0xFEDF_FFFF), (0xFEF0_0000, (1 << 48) - 1)];

    /// A description with a DMA-available capability before the ranges.
    fn info(ranges: &[(u64, u64)]) -> Vec<u8> {
        let mut bytes = vec![0; INFO_BYTES_MIN];
        bytes[FLAGS] = 3;
        bytes[CAP_OFFSET] = 24;
        bytes.extend([3u16.to_le_bytes(), 1u16.to_le_bytes()].concat());
        bytes.extend(40u32.to_le_bytes());
        bytes.extend(65_535u64.to_le_bytes());
        bytes.extend([1u16.to_le_bytes(), 1u16.to_le_bytes()].concat());
        bytes.extend(0u32.to_le_bytes());
        bytes.extend(u32::try_from(ranges.len()).unwrap().to_le_bytes());
        bytes.extend(0u32.to_le_bytes());
        for (first, last) in ranges {
            bytes.extend(first.to_le_bytes());
            bytes.extend(last.to_le_bytes());
        }
        bytes
    }

    #[test]
    fn ranges_are_found_behind_other_capabilities_and_leave_the_msi_window_out() {
        let found = ranges(&info(&USUAL)).unwrap();
        let expected = USUAL.map(|(first, last)| IovaRange {
            first: Iova(first),
            last: Iova(last),
        });
        assert_eq!(found, expected);
        let holds = |at, bytes| found.iter().any(|range| range.holds(Iova(at), bytes));
        assert!(holds(1 << 32, 1 << 30));
        assert!(!holds(0xFEE0_0000, 4096), "the MSI window");
        assert!(!holds(0xFEDF_F000, 8192), "into the MSI window");
        assert!(!holds((1 << 48) - 4096, 8192), "over the end");
    }

    #[test]
    fn what_is_cut_off_or_out_of_order_is_refused() {
        let whole = info(&USUAL);
        for len in 0..whole.len() {
            assert!(ranges(&whole[..len]).is_err(), "{len} bytes");
        }
        assert_eq!(ranges(&info(&[])), Err(BadIommuInfo::NoRanges));
        assert_eq!(ranges(&info(&[(9, 8)])), Err(BadIommuInfo::Order));
        assert_eq!(ranges(&info(&[(0, 8), (8, 9)])), Err(BadIommuInfo::Order));
        let mut without = whole.clone();
        without[FLAGS] = 1;
        assert_eq!(ranges(&without), Err(BadIommuInfo::NoRanges));
        // A chain that goes round ends.
        let mut round = whole;
        round[28] = 24;
        assert_eq!(ranges(&round), Err(BadIommuInfo::NoRanges));
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_or_refused(bytes in prop::collection::vec(any::<u8>(), 0..256)) {
            let _ = ranges(&bytes);
        }
    }
}

//! Compressions that are not read. They are recognised by a file's first bytes, so that no lines are made of it.
//!
//! This module does no I/O.

/// What the names of such files end with.
const ENDINGS: [&[u8]; 6] = [b".zst", b".xz", b".bz2", b".lz4", b".zip", b".Z"];

/// The longest beginning by which one is recognised.
const LONGEST_MARK: usize = 10;

/// Why a file that begins like this is not read, if it is compressed with anything but gzip.
pub(super) fn unread_compression(head: &[u8]) -> Option<String> {
    let (name, decompress) = match head {
        [0x28, 0xB5, 0x2F, 0xFD, ..] => ("zstd", "zstd -dc"),
        [0xFD, b'7', b'z', b'X', b'Z', 0, ..] => ("xz", "xz -dc"),
        [b'B', b'Z', b'h', b'1'..=b'9', b'1', b'A', b'Y', b'&', b'S', b'Y', ..] => ("bzip2", "bzip2 -dc"),
        [0x04, 0x22, 0x4D, 0x18, ..] => ("lz4", "lz4 -dc"),
        [b'P', b'K', 3, 4, ..] => ("zip", "unzip -p"),
        // The third byte says how long codes are, 9 to 16 bits, and that blocks are used, as they are by all programs.
        [0x1F, 0x9D, 0x89..=0x90, ..] => ("compress", "gzip -dc"),
        _ => return None,
    };
    Some(format!(
        "it is compressed with {name}, and of what is compressed only gzip (`.gz`) is read; let rotation compress with gzip, \
         and convert this file if its lines were not read before: `{decompress} … | gzip > ….gz`"
    ))
}

/// Why the bytes of a file that begins like this, and that is not read through a decompressor, are no lines.
pub(super) fn no_lines(head: &[u8]) -> Option<String> {
    let is_gzip = matches!(head, [0x1F, 0x8B, 8, ..]);
    let unnamed = "it is compressed with gzip, which is read where the name of a file ends with `.gz`: rename it";
    is_gzip.then(|| unnamed.to_owned()).or_else(|| unread_compression(head))
}

/// True when a file is named as such and there is too little in it to tell.
pub(super) fn may_become_unread(name: &[u8], head: &[u8]) -> bool {
    head.len() < LONGEST_MARK && ENDINGS.iter().any(|ending| name.ends_with(ending))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_compressed_is_recognised_by_its_first_bytes() {
        for (head, name) in [
            (&b"\x28\xb5\x2f\xfd\x04\x58\x41\x00"[..], "zstd"),
            (b"\xfd7zXZ\x00\x00\x04", "xz"),
            (b"BZh91AY&SY\xa7\x14", "bzip2"),
            (b"\x04\x22\x4d\x18\x64\x40", "lz4"),
            (b"PK\x03\x04\x14\x00", "zip"),
            (b"\x1f\x9d\x90\x6f", "compress"),
        ] {
            let reason = unread_compression(head).unwrap();
            assert!(reason.starts_with(&format!("it is compressed with {name}, ")), "{reason}");
        }
    }

    #[test]
    fn nothing_else_is_taken_for_it() {
        let heads = [&b"BZh9 is how bzip2 begins\n"[..], b"PK\n", b"\x1f\x8b\x08\x00", b"\x1f\x9d\n", b"(\xb5", b""];
        assert!(heads.iter().all(|head| unread_compression(head).is_none()));
        let unnamed: Vec<_> = heads.iter().filter_map(|head| no_lines(head)).collect();
        assert!(matches!(&unnamed[..], [gzip] if gzip.contains("ends with `.gz`")), "{unnamed:?}");
        assert!(may_become_unread(b"app.log.1.zst", b"") && may_become_unread(b"a.bz2", b"BZh9"));
        assert!(!may_become_unread(b"app.log.1", b"") && !may_become_unread(b"a.bz2", b"BZh9 is how"));
    }
}

//! Files that are compressed in a way that is not read: no lines are made of them.

use super::*;

/// What `zstd` and `xz` make of the lines "one" and "two".
const ZSTD: &[u8] = b"\x28\xb5\x2f\xfd\x04\x58\x41\x00\x00\x6f\x6e\x65\x0a\x74\x77\x6f\x0a\xe6\xa6\x0e\x40";
const XZ: &[u8] =
    b"\xfd\x37\x7a\x58\x5a\x00\x00\x04\xe6\xd6\xb4\x46\x02\x00\x21\x01\x16\x00\x00\x00\x74\x2f\xe5\xa3\x01\x00\
    \x07\x6f\x6e\x65\x0a\x74\x77\x6f\x0a\x00\x51\xab\x9e\xaf\x57\x75\x70\x49\x00\x01\x20\x08\xbb\x19\xd9\xbb\
    \x1f\xb6\xf3\x7d\x01\x00\x00\x00\x00\x04\x59\x5a";

#[tokio::test]
async fn what_is_compressed_with_anything_but_gzip_is_passed_over_with_a_reason() {
    let setup = Setup::new(&["a.log*"]);
    setup.write("a.log", "four\n");
    setup.write("a.log.1", "three\n");
    for (name, bytes) in
        [("a.log.2.zst", &b""[..]), ("a.log.3.zst", ZSTD), ("a.log.4.xz", XZ), ("a.log.5.gz", ZSTD), ("a.log.6", XZ)]
    {
        setup.write(name, bytes);
    }
    let mut source = setup.source();
    let found = source.probe().await.unwrap();
    assert!(found.starts_with("3 files match; "), "{found}");
    for (name, compression) in
        [("a.log.3.zst", "zstd"), ("a.log.4.xz", "xz"), ("a.log.5.gz", "zstd"), ("a.log.6", "xz")]
    {
        let expected = format!("{name} is passed over: it is compressed with {compression}, ");
        assert!(found.contains(&expected), "{name}: {found}");
    }
    let mut reader = setup.reader().await;
    assert_eq!(reader.lines(2).await, ["three", "four"]);
    // It was being written when it was seen.
    setup.write("a.log.2.zst", ZSTD);
    setup.rename("a.log.6", "a.log.7");
    setup.append("a.log", "five\n");
    assert_eq!(reader.lines(1).await, ["five"]);
    let known = reader.source.session().unwrap().registry.iter().map(|(_, file)| file.path.to_string());
    let known: Vec<String> = known.collect();
    assert!(known.iter().all(|path| path.ends_with("a.log")), "{known:?}");
}

#[tokio::test]
async fn what_turns_out_to_be_compressed_after_it_was_opened_gives_no_lines() {
    let setup = Setup::new(&["*.log"]);
    setup.write("a.log", "");
    let mut reader = setup.reader().await;
    let session = reader.source.session.as_mut().unwrap();
    while session.tails.values().all(|tail| tail.content.is_none()) {
        timeout(PATIENCE, session.work(true)).await.unwrap().unwrap();
    }
    setup.write("a.log", ZSTD);
    for line in ["next", "last"] {
        setup.append("b.log", &format!("{line}\n"));
        assert_eq!(reader.lines(1).await, [line]);
    }
}

#[tokio::test]
async fn what_was_not_read_before_it_was_compressed_is_said_to_be_lost() {
    let setup = Setup::new(&["a.log*"]);
    setup.write("a.log", "one\n");
    let mut reader = setup.reader().await;
    assert_eq!(reader.lines(1).await, ["one"]);
    reader.commit().await;
    drop(reader);
    fs::remove_file(setup.path("a.log")).unwrap();
    setup.write("a.log.1.zst", ZSTD);
    setup.write("a.log", "three\n");
    let lines = setup.reader().await.lines(2).await;
    assert!(lines[0].contains("after byte 4, if anything, was not read"), "{lines:?}");
    assert_eq!(lines[1], "three");
}

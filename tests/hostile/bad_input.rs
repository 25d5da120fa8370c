//! Bad input: a clear error each, nothing changed, and the server lives.

use support::{acquire, args, digest, release, Client, Server, Value};

/// A server on which `k` is held by `me`, and keys of other types stand.
struct Scene {
    server: Server,
    client: Client,
    fence: i64,
}

impl Scene {
    fn set() -> Scene {
        let server = Server::start();
        let mut client = server.client();
        let fence = acquire(&mut client, "k", "me");
        assert_eq!(client.cmd(&["SET", "string", "x"]), "OK");
        client.cmd(&["RPUSH", "list", "x"]).int();
        client.cmd(&["HSET", "hash", "x", "y"]).int();
        client.cmd(&["SADD", "set", "x"]).int();
        client.cmd(&["ZADD", "zset", "1", "x"]).int();
        client.cmd(&["XADD", "stream", "*", "x", "y"]).text();
        client.cmd(&["SETBIT", "bits", "7", "1"]).int();
        Scene { server, client, fence }
    }

    /// What must not move: the data set, and how many changes the server counts.
    fn state(&self) -> (String, i64) {
        (digest(&self.server), self.server.info_number("persistence", "rdb_changes_since_last_save"))
    }

    /// Sends `command`, which must be refused, and returns the error: one line, short, and without any effect.
    #[track_caller]
    fn refused<A: AsRef<[u8]>>(&mut self, command: &[A]) -> String {
        let before = self.state();
        let answer = self.client.cmd(command);
        let text = match &answer {
            Value::Error(text) => text.clone(),
            other => panic!("{} was not refused: {other:?}", shown(command)),
        };
        // A text that broke its line would leave something between it and the next reply.
        assert_eq!(self.client.cmd(&["ECHO", "next"]), "next", "after {}", shown(command));
        assert!(text.chars().all(|c| c == ' ' || c.is_ascii_graphic()), "unprintable: {text:?}");
        assert!(text.len() < 250, "too long: {text}");
        assert_eq!(self.state(), before, "{} changed something", shown(command));
        assert_eq!(self.server.blocked(), 0, "{} blocked", shown(command));
        text
    }

    /// [`Scene::refused`] with a plain `ERR` that holds each of these texts.
    #[track_caller]
    fn refused_saying<A: AsRef<[u8]>>(&mut self, command: &[A], parts: &[&str]) {
        let text = self.refused(command);
        assert!(text.starts_with("ERR "), "{}: {text}", shown(command));
        for part in parts {
            assert!(text.contains(part), "{}: the error does not say {part:?}: {text}", shown(command));
        }
    }

    /// For a table of lines `command => what the error says`, parts set apart by `|`.
    #[track_caller]
    fn refuses_each(&mut self, table: &[(&str, &str)]) {
        for (line, says) in table {
            let words: Vec<&str> = line.split(' ').collect();
            let parts: Vec<&str> = says.split('|').collect();
            self.refused_saying(&words, &parts);
        }
    }

    /// The hold from the beginning still stands under its fence, and ends when its owner says so.
    #[track_caller]
    fn end(mut self) {
        let answer = self.client.cmd(&args!["LOCK.RELEASE", "k", "me", "FENCE", self.fence]);
        assert_eq!(answer, 1, "the hold from the beginning is gone");
        self.server.assert_clean();
    }
}

fn shown<A: AsRef<[u8]>>(command: &[A]) -> String {
    let heads = command.iter().map(|arg| &arg.as_ref()[..arg.as_ref().len().min(40)]);
    heads.map(|head| head.escape_ascii().to_string()).collect::<Vec<_>>().join(" ")
}

#[test]
fn wrong_arity_is_an_error() {
    let mut scene = Scene::set();
    for name in ["LOCK.ACQUIRE", "LOCK.RELEASE", "LOCK.EXTEND"] {
        let says = format!("wrong number of arguments for '{}'", name.to_lowercase());
        scene.refused_saying(&[name], &[&says]);
        scene.refused_saying(&[name, "k"], &[&says]);
    }
    scene.end();
}

#[test]
fn unknown_options_are_named_with_the_known_ones() {
    let mut scene = Scene::set();
    scene.refuses_each(&[
        ("LOCK.ACQUIRE k me NX", "'NX'|PX|EX|BLOCK"),
        ("LOCK.ACQUIRE free me PX 5000 XX", "'XX'|BLOCK"),
        ("LOCK.ACQUIRE free me 5000", "'5000'|PX"),
        ("LOCK.ACQUIRE free me FENCE 1", "'FENCE'|BLOCK"),
        ("LOCK.ACQUIRE free me BLOCKS 0", "'BLOCKS'|BLOCK"),
        ("LOCK.RELEASE k me now", "'now'|FENCE"),
        ("LOCK.RELEASE k me PX 1", "'PX'|FENCE"),
        ("LOCK.EXTEND k me 5000", "'5000'|PX|EX|FENCE|RAISE"),
        ("LOCK.EXTEND k me BLOCK 1", "'BLOCK'|PX|EX|FENCE|RAISE"),
    ]);
    scene.end();
}

#[test]
fn doubled_and_contradicting_options_are_refused() {
    let mut scene = Scene::set();
    scene.refuses_each(&[
        ("LOCK.ACQUIRE free me PX 5000 PX 5000", "PX|twice"),
        ("LOCK.ACQUIRE free me EX 5 ex 5", "EX|twice"),
        ("LOCK.ACQUIRE free me BLOCK 1 PX 5 BLOCK 1", "BLOCK|twice"),
        ("LOCK.ACQUIRE free me PX 5000 EX 5", "PX|EX"),
        ("LOCK.ACQUIRE free me ex 5 block 1 px 5000", "PX|EX"),
        ("LOCK.RELEASE k me FENCE 1 FENCE 1", "FENCE|twice"),
        ("LOCK.EXTEND k me PX 1 PX 1", "PX|twice"),
        ("LOCK.EXTEND k me EX 1 EX 1", "EX|twice"),
        ("LOCK.EXTEND k me PX 1 EX 1", "PX|EX"),
        ("LOCK.EXTEND k me FENCE 1 FENCE 1", "FENCE|twice"),
        ("LOCK.EXTEND k me RAISE 1 PX 1 RAISE 1", "RAISE|twice"),
    ]);
    scene.end();
}

#[test]
fn options_without_their_value_are_refused() {
    let mut scene = Scene::set();
    scene.refuses_each(&[
        ("LOCK.ACQUIRE free me PX", "PX|value"),
        ("LOCK.ACQUIRE free me BLOCK 1 EX", "EX|value"),
        ("LOCK.ACQUIRE free me PX 1 BLOCK", "BLOCK|value"),
        ("LOCK.RELEASE k me FENCE", "FENCE|value"),
        ("LOCK.EXTEND k me FENCE", "FENCE|value"),
        ("LOCK.EXTEND k me PX 1 RAISE", "RAISE|value"),
        // The next option is taken for the value.
        ("LOCK.ACQUIRE free me PX BLOCK 1", "PX|1 to 31536000000"),
    ]);
    scene.end();
}

/// Numbers that are none, or lie outside every range.
const NO_NUMBERS: [&str; 12] = [
    "",
    "-1",
    "-9223372036854775808",
    "9223372036854775808",
    "18446744073709551615",
    "18446744073709551617",
    "99999999999999999999999999999999",
    "1.5",
    "1e3",
    "0x10",
    " 1",
    "abc",
];

#[test]
fn leases_outside_one_millisecond_to_a_year_are_refused() {
    let mut scene = Scene::set();
    for (option, most) in [("PX", 31_536_000_000_u64), ("EX", 31_536_000)] {
        let range = format!("1 to {most}");
        let over = (most + 1).to_string();
        for bad in NO_NUMBERS.into_iter().chain(["0", over.as_str()]) {
            scene.refused_saying(&["LOCK.ACQUIRE", "free", "me", option, bad], &[option, &range]);
            scene.refused_saying(&["LOCK.ACQUIRE", "k", "me", option, bad], &[option, &range]);
            scene.refused_saying(&["LOCK.EXTEND", "k", "me", option, bad], &[option, &range]);
        }
        // The ends of the range themselves are allowed.
        assert_eq!(scene.client.cmd(&args!["LOCK.EXTEND", "k", "me", option, most]), 1);
        scene.client.cmd(&args!["LOCK.ACQUIRE", "briefly", "me", option, 1]).int();
        scene.client.cmd(&args!["LOCK.RELEASE", "briefly", "me"]).int();
    }
    scene.end();
}

#[test]
fn waits_that_are_no_number_are_refused() {
    let mut scene = Scene::set();
    for bad in NO_NUMBERS {
        scene.refused_saying(&["LOCK.ACQUIRE", "k", "other", "BLOCK", bad], &["BLOCK", "from 0"]);
        scene.refused_saying(&["LOCK.ACQUIRE", "free", "other", "BLOCK", bad], &["BLOCK", "from 0"]);
    }
    // The longest wait allowed does not overflow into a short one.
    let mut waiter = scene.server.client();
    let longest = i64::MAX.to_string();
    scene.server.send_to_wait(&mut waiter, &["LOCK.ACQUIRE", "k", "w", "BLOCK", &longest]);
    assert_eq!(scene.client.cmd(&["LOCK.RELEASE", "k", "w"]), 0);
    assert_eq!(waiter.read(), Value::NullBulk);
    scene.end();
}

#[test]
fn fences_outside_their_range_are_refused() {
    let mut scene = Scene::set();
    let too_large = (1_u64 << 53).to_string();
    let range = format!("1 to {}", (1_u64 << 53) - 1);
    for bad in NO_NUMBERS.into_iter().chain(["0", too_large.as_str()]) {
        scene.refused_saying(&["LOCK.RELEASE", "k", "me", "FENCE", bad], &["FENCE", &range]);
        scene.refused_saying(&["LOCK.EXTEND", "k", "me", "FENCE", bad], &["FENCE", &range]);
        scene.refused_saying(&["LOCK.EXTEND", "k", "me", "RAISE", bad], &["RAISE", &range]);
    }
    // A fence like any other, but out of reach of this server's clock: also where nothing is held.
    let largest = ((1_u64 << 53) - 1).to_string();
    for key in ["k", "free", "string"] {
        let command = ["LOCK.EXTEND", key, "me", "PX", "1", "RAISE", &largest];
        scene.refused_saying(&command, &["RAISE", "60 seconds"]);
    }
    scene.end();
}

#[test]
fn owners_have_1_to_1024_bytes() {
    let mut scene = Scene::set();
    let (longest, too_long, megabyte) = (vec![b'o'; 1024], vec![b'o'; 1025], vec![b'o'; 1 << 20]);
    for name in ["LOCK.ACQUIRE", "LOCK.RELEASE", "LOCK.EXTEND"] {
        for (owner, length) in [(&vec![], "not 0"), (&too_long, "not 1025"), (&megabyte, "not 1048576")] {
            scene.refused_saying(&args![name, "k", owner], &["owner", "1 to 1024 bytes", length]);
            scene.refused_saying(&args![name, "free", owner], &["owner", "1 to 1024 bytes", length]);
        }
    }
    scene.refused_saying(&args!["LOCK.ACQUIRE", "k", "", "BLOCK", 0], &["owner"]);
    let mut waiter = scene.server.client();
    for owner in [b"o".as_slice(), &longest] {
        scene.client.cmd(&args!["LOCK.ACQUIRE", "free", owner]).int();
        scene.server.send_to_wait(&mut waiter, &args!["LOCK.ACQUIRE", "free", "next", "BLOCK", 0]);
        assert_eq!(scene.client.cmd(&args!["LOCK.EXTEND", "free", owner]), 1);
        assert_eq!(scene.client.cmd(&args!["LOCK.RELEASE", "free", owner]), 1);
        waiter.read().int();
        release(&mut waiter, "free", "next");
    }
    scene.end();
}

#[test]
fn owner_star_is_for_acquire_only() {
    let mut scene = Scene::set();
    scene.refuses_each(&[
        ("LOCK.RELEASE k *", "owner '*'|LOCK.ACQUIRE"),
        ("LOCK.RELEASE free *", "owner '*'|LOCK.ACQUIRE"),
        ("LOCK.EXTEND k *", "owner '*'|LOCK.ACQUIRE"),
        ("LOCK.EXTEND k * PX 1000", "owner '*'|LOCK.ACQUIRE"),
    ]);
    // Only that one byte is special.
    scene.client.cmd(&["LOCK.ACQUIRE", "free", "**"]).int();
    assert_eq!(scene.client.cmd(&["LOCK.EXTEND", "free", "**"]), 1);
    assert_eq!(scene.client.cmd(&["LOCK.RELEASE", "free", "**"]), 1);
    scene.end();
}

#[test]
fn what_a_client_wrote_cannot_break_an_error_line() {
    let mut scene = Scene::set();
    let long = vec![b'\n'; 1 << 20];
    let nasty: [&[u8]; 7] =
        [b"X\r\n+OK\r\n", b"\r\n", b"\xff\xfe\0", b"%s%n%d", b"\"quoted\" \\", "\u{fc}ber".as_bytes(), &long];
    for bytes in nasty {
        for name in ["LOCK.ACQUIRE", "LOCK.RELEASE", "LOCK.EXTEND"] {
            scene.refused_saying(&args![name, "k", "me", bytes], &["unknown option"]);
        }
        scene.refused_saying(&args!["LOCK.ACQUIRE", "k", "me", "PX", bytes], &["PX"]);
        scene.refused_saying(&args!["LOCK.EXTEND", "k", "me", "RAISE", bytes], &["RAISE"]);
    }
    scene.end();
}

#[test]
fn requests_with_very_many_words_are_refused() {
    let mut scene = Scene::set();
    for word in ["PX", "BLOCK", "FENCE", "1", ""] {
        for count in [14, 15, 16, 17, 18, 10_000] {
            for name in ["LOCK.ACQUIRE", "LOCK.RELEASE", "LOCK.EXTEND"] {
                let mut command = vec![name, "k", "me"];
                command.resize(3 + count, word);
                scene.refused_saying(&command, &[]);
            }
        }
    }
    scene.end();
}

#[test]
fn every_option_once_with_one_too_many_behind_is_refused() {
    let mut scene = Scene::set();
    scene.refuses_each(&[
        ("LOCK.ACQUIRE k me PX 1000 BLOCK 1 x", "'x'"),
        ("LOCK.RELEASE k me FENCE 1 x", "'x'"),
        ("LOCK.EXTEND k me PX 1000 FENCE 1 RAISE 1 x", "'x'"),
    ]);
    scene.end();
}

/// Every command on a key of another type.
const ON_WRONG_TYPE: [&str; 9] = [
    "LOCK.ACQUIRE KEY me",
    "LOCK.ACQUIRE KEY *",
    "LOCK.ACQUIRE KEY me PX 1000",
    "LOCK.ACQUIRE KEY me BLOCK 0",
    "LOCK.ACQUIRE KEY * BLOCK 1000",
    "LOCK.RELEASE KEY me",
    "LOCK.RELEASE KEY me FENCE 1",
    "LOCK.EXTEND KEY me",
    "LOCK.EXTEND KEY me PX 1000 FENCE 1 RAISE 1",
];

#[test]
fn keys_of_another_type_are_refused_and_left_alone() {
    let mut scene = Scene::set();
    for key in ["string", "list", "hash", "set", "zset", "stream", "bits"] {
        for line in ON_WRONG_TYPE {
            let words: Vec<&str> = line.split(' ').map(|word| if word == "KEY" { key } else { word }).collect();
            let text = scene.refused(&words);
            assert!(text.starts_with("WRONGTYPE "), "{words:?}: {text}");
        }
    }
    scene.end();
}

#[test]
fn bad_options_are_found_before_the_key_is_opened() {
    let mut scene = Scene::set();
    scene.refuses_each(&[
        ("LOCK.ACQUIRE string me NX", "'NX'"),
        ("LOCK.ACQUIRE string me PX 0", "PX"),
        ("LOCK.RELEASE string *", "owner"),
        ("LOCK.EXTEND string me FENCE 0", "FENCE"),
    ]);
    scene.end();
}

/// Trap 37: keys and owners of any bytes, also huge ones, on free, held and wrong-typed keys: no panic, no mix-up.
#[test]
fn keys_and_owners_may_hold_any_bytes() {
    let mut scene = Scene::set();
    let every_byte: Vec<u8> = (0..=255).collect();
    let megabyte = vec![0xff; 1 << 20];
    let names: [&[u8]; 6] = [b"", b"\0", b"\r\n+OK\r\n", b"\xff\xfe", &every_byte, &megabyte];
    for key in names {
        for owner in names.iter().filter(|owner| (1..=1024).contains(&owner.len())) {
            let c = &mut scene.client;
            let fence = c.cmd(&args!["LOCK.ACQUIRE", key, owner, "PX", 60_000]).int();
            assert_eq!(c.cmd(&args!["LOCK.ACQUIRE", key, "rival", "BLOCK", 1]), Value::NullBulk);
            let cut = [*owner, b"x"].concat();
            assert_eq!(c.cmd(&args!["LOCK.RELEASE", key, cut]), 0, "owners are compared whole");
            assert_eq!(c.cmd(&args!["LOCK.ACQUIRE", key, owner]), fence);
            assert_eq!(c.cmd(&args!["LOCK.EXTEND", key, owner, "FENCE", fence]), 1);
            assert_eq!(c.cmd(&args!["LOCK.RELEASE", key, owner]), 1);
            assert_eq!(c.cmd(&args!["EXISTS", key]), 0);
        }
        assert_eq!(scene.client.cmd(&args!["SET", key, "x"]), "OK");
        for line in ON_WRONG_TYPE {
            let words = line.split(' ').map(|word| if word == "KEY" { key } else { word.as_bytes() });
            let text = scene.refused(&words.collect::<Vec<_>>());
            assert!(text.starts_with("WRONGTYPE "), "{line}: {text}");
        }
        assert_eq!(scene.client.cmd(&args!["DEL", key]), 1);
    }
    scene.end();
}

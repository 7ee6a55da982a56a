//! Gives the memory back that holds program text which nobody executes any more.
//!
//! Reading a configuration, opening a store and making listeners execute megabytes of a program that
//! then serves with a small part of them. What was read from the program's file stays in memory as
//! long as nobody else needs it; a process that mostly waits has no use for it. What is needed again
//! comes back from the page cache by itself, a page fault for every few pages.

use std::ops::Range;

/// Returns to the system the text and the constants of the program and its libraries. Whoever
/// executes them again finds them again.
#[cfg(target_os = "linux")]
pub(crate) fn give_back() {
    match std::fs::read_to_string("/proc/self/smaps") {
        Ok(smaps) => untouched(&smaps).into_iter().for_each(let_go),
        Err(error) => tracing::debug!(%error, "Could not see what is resident"),
    }
}

/// Other systems take such pages by themselves when they need them.
#[cfg(not(target_os = "linux"))]
pub(crate) fn give_back() {}

/// Tells the kernel that these pages are not needed for now.
#[cfg(target_os = "linux")]
#[expect(unsafe_code, reason = "advice about memory is offered to C alone")]
fn let_go(range: Range<usize>) {
    let start = std::ptr::without_provenance_mut(range.start);
    // SAFETY: `untouched` names only what the loader mapped of the program and its libraries, which
    // stays mapped until the process ends: nothing here unloads a library. It cannot be written to,
    // and holds no page that differs from its file, for there is no anonymous page among them. What
    // the kernel lets go of is read from the same file again at the next access, so that no byte
    // that anybody can see changes.
    let outcome = unsafe { libc::madvise(start, range.len(), libc::MADV_DONTNEED) };
    if outcome != 0 {
        tracing::debug!("Could not let go of what is not needed");
    }
}

/// One mapping of this process.
struct Mapping<'a> {
    range: Range<usize>,
    permissions: &'a str,
    inode: &'a str,
    /// Whether a page in it differs from its file, as what the loader relocated does.
    differs: bool,
}

/// The text that the loader mapped, and the constants that it mapped in one piece with text, where no
/// page differs from its file. Only the loader maps what can be executed; constants that stand alone
/// may be anything that somebody reads for a moment.
fn untouched(smaps: &str) -> Vec<Range<usize>> {
    let mappings = mappings(smaps);
    let is_text = |it: &Mapping<'_>| it.permissions == "r-xp" && it.inode != "0";
    let is_before_text = |at: usize, it: &Mapping<'_>| {
        it.permissions == "r--p"
            && mappings.get(at + 1).is_some_and(|next| {
                is_text(next) && next.inode == it.inode && next.range.start == it.range.end
            })
    };
    let fits = |at, it: &Mapping<'_>| !it.differs && (is_text(it) || is_before_text(at, it));
    let all = mappings.iter().enumerate();
    all.filter(|&(at, it)| fits(at, it)).map(|(_, it)| it.range.clone()).collect()
}

fn mappings(smaps: &str) -> Vec<Mapping<'_>> {
    let mut mappings: Vec<Mapping<'_>> = Vec::new();
    for line in smaps.lines() {
        if let Some(mapping) = Mapping::begin(line) {
            mappings.push(mapping);
        } else if let (Some(rest), Some(last)) =
            (line.strip_prefix("Anonymous:"), mappings.last_mut())
        {
            last.differs = rest.split_ascii_whitespace().next() != Some("0");
        }
    }
    mappings
}

impl<'a> Mapping<'a> {
    /// Reads `START-END PERMISSIONS OFFSET DEVICE INODE PATH`.
    fn begin(line: &'a str) -> Option<Self> {
        let mut words = line.split_ascii_whitespace();
        let (start, end) = words.next()?.split_once('-')?;
        let start = usize::from_str_radix(start, 16).ok()?;
        let end = usize::from_str_radix(end, 16).ok()?;
        let (permissions, inode) = (words.next()?, words.nth(2)?);
        Some(Self { range: start..end, permissions, inode, differs: true })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SMAPS: &str = "\
1000-3000 r--p 00000000 fe:00 42    /bin/it
Rss:                   8 kB
Anonymous:             0 kB
3000-5000 r-xp 00002000 fe:00 42    /bin/it
Anonymous:             0 kB
5000-6000 r--p 00004000 fe:00 42    /bin/it
Anonymous:             4 kB
6000-7000 rw-p 00005000 fe:00 42    /bin/it
Anonymous:             0 kB
7000-8000 r--p 00000000 fe:00 43    /a file with blanks
Anonymous:             0 kB
8000-9000 r-xp 00000000 fe:00 44    /lib/debugged
Anonymous:             4 kB
9000-a000 r--s 00000000 fe:00 45    /lib/shared
Anonymous:             0 kB
a000-b000 r-xp 00000000 00:00 0     [vdso]
Anonymous:             0 kB
b000-c000 r-xp 00000000 fe:00 46    /lib/unfinished
Rss:                   0 kB
";

    #[test]
    fn only_what_the_loader_mapped_and_nobody_changed_is_let_go() {
        assert_eq!(untouched(SMAPS), [0x1000..0x3000, 0x3000..0x5000]);
    }

    #[test]
    #[cfg(target_os = "linux")]
    fn what_is_let_go_comes_back_as_it_was() {
        static WORDS: [u8; 1 << 16] = [7; 1 << 16];
        let sum = || std::hint::black_box(&WORDS).iter().map(|&word| u64::from(word)).sum::<u64>();
        let before = sum();
        let text_kib = || {
            let status = std::fs::read_to_string("/proc/self/status").expect("it is always there");
            let line = status.lines().find(|line| line.starts_with("RssFile:")).expect("its line");
            line.split_ascii_whitespace()
                .nth(1)
                .and_then(|kib| kib.parse::<u64>().ok())
                .expect("KiB")
        };
        let resident_kib = text_kib();
        give_back();
        assert!(text_kib() < resident_kib, "{} of {resident_kib} KiB", text_kib());
        assert_eq!(sum(), before);
    }
}

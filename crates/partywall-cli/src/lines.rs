//! One thing to judge per line, from a stream of any length: bounded in memory, whatever is in it.

use std::io::{self, BufRead, BufReader, Read};

/// What a line holds.
#[derive(Debug, Eq, PartialEq)]
pub(crate) enum Line<'l> {
    /// Text, without the spaces around it.
    Text(&'l str),
    /// More than is worth keeping.
    TooLong {
        /// How much.
        bytes: usize,
    },
    /// Not text.
    NotUtf8,
}

/// Reads a stream line by line.
pub(crate) struct Lines<R> {
    reader: BufReader<R>,
    /// The longest line that is kept.
    longest: usize,
    kept: Vec<u8>,
    number: u64,
}

impl<R: Read> Lines<R> {
    /// Keeps lines of up to `longest` bytes.
    pub(crate) fn of(reader: R, longest: usize) -> Self {
        Self { reader: BufReader::new(reader), longest, kept: Vec::new(), number: 0 }
    }

    /// The next line that is not empty, with its number counted from 1. Calls `before_waiting`
    /// whenever the stream may make us wait.
    pub(crate) fn next(
        &mut self,
        mut before_waiting: impl FnMut(),
    ) -> io::Result<Option<(u64, Line<'_>)>> {
        loop {
            let Some(bytes) = self.take_line(&mut before_waiting)? else { return Ok(None) };
            self.number += 1;
            if bytes > self.longest {
                return Ok(Some((self.number, Line::TooLong { bytes })));
            }
            if !self.kept.trim_ascii().is_empty() {
                break;
            }
        }
        let line = std::str::from_utf8(self.kept.trim_ascii()).map_or(Line::NotUtf8, Line::Text);
        Ok(Some((self.number, line)))
    }

    /// Takes one line, keeps its beginning, and says how long it was; `None` at the end.
    fn take_line(&mut self, before_waiting: &mut impl FnMut()) -> io::Result<Option<usize>> {
        self.kept.clear();
        let (mut bytes, mut started) = (0, false);
        loop {
            if self.reader.buffer().is_empty() {
                before_waiting();
            }
            let available = match self.reader.fill_buf() {
                Ok(available) => available,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => return Err(error),
            };
            if available.is_empty() {
                return Ok(started.then_some(bytes));
            }
            started = true;
            let end = available.iter().position(|byte| *byte == b'\n');
            let part = available.get(..end.unwrap_or(available.len())).unwrap_or_default();
            let room = (self.longest + 1).saturating_sub(self.kept.len());
            self.kept.extend_from_slice(part.get(..room.min(part.len())).unwrap_or_default());
            bytes += part.len();
            let used = part.len() + usize::from(end.is_some());
            self.reader.consume(used);
            if end.is_some() {
                return Ok(Some(bytes));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEPT: usize = 64 * 1024;

    fn all(input: &[u8], chunk: usize) -> Vec<(u64, String)> {
        let reader = BufReader::with_capacity(chunk, input);
        let mut lines = Lines { reader, longest: KEPT, kept: Vec::new(), number: 0 };
        let mut found = Vec::new();
        while let Some((number, line)) = lines.next(|| ()).unwrap() {
            found.push((number, format!("{line:?}")));
        }
        found
    }

    #[test]
    fn lines_are_trimmed_numbered_and_empty_ones_skipped() {
        let input = b"\n a.b.c \r\n\n\t\nx\xff\nlast";
        let expected = [(2, r#"Text("a.b.c")"#), (5, "NotUtf8"), (6, r#"Text("last")"#)]
            .map(|(n, s)| (n, s.to_owned()));
        for chunk in [1, 2, 7, 8192] {
            assert_eq!(all(input, chunk), expected);
        }
        assert!(all(b"", 8).is_empty());
        assert!(all(b"\n\n", 8).is_empty());
    }

    #[test]
    fn long_lines_are_counted_and_not_kept() {
        let mut input = vec![b'a'; KEPT];
        input.push(b'\n');
        input.extend(vec![b'b'; 10 * KEPT]);
        input.extend(b"\nc\n");
        let mut lines = Lines::of(&input[..], KEPT);
        assert!(
            matches!(lines.next(|| ()).unwrap(), Some((1, Line::Text(text))) if text.len() == KEPT)
        );
        let long = Line::TooLong { bytes: 10 * KEPT };
        assert_eq!(lines.next(|| ()).unwrap(), Some((2, long)));
        assert_eq!(lines.next(|| ()).unwrap(), Some((3, Line::Text("c"))));
        assert!(lines.kept.capacity() < 4 * KEPT);
    }
}

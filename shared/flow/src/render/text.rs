//! Widths and breaks of texts, without a font.

/// What must happen for a way to be taken, in lines of bearable length.
pub(super) fn label_of(words: &[&str]) -> Vec<String> {
    let mut lines: Vec<String> = Vec::new();
    for word in words {
        let word = shorten(word, 34);
        match lines.last_mut() {
            Some(line) if line.chars().count() + word.chars().count() <= 26 => {
                line.push_str(" / ");
                line.push_str(&word);
            }
            _ => lines.push(word),
        }
    }
    if lines.len() > 4 {
        let more = lines.len() - 3;
        lines.truncate(3);
        lines.push(format!("… {more} more"));
    }
    lines
}

/// An estimate: fonts differ, and a little air does no harm.
pub(super) fn width_of(text: &str, size: f64) -> f64 {
    let wide = |c: char| match c {
        'i' | 'j' | 'l' | '.' | ',' | ':' | ';' | '\'' | '|' | '!' => 0.3,
        'm' | 'w' | 'M' | 'W' => 0.86,
        '“' | '”' | '·' | '…' => 0.6,
        c if c.is_ascii_uppercase() => 0.68,
        c if c.is_ascii() => 0.56,
        _ => 1.02,
    };
    text.chars().map(wide).sum::<f64>() * size
}

/// At most two lines of so many half-width characters.
pub(super) fn wrap(text: &str, most: usize) -> Vec<String> {
    let wide = |c: char| if c.is_ascii() { 1 } else { 2 };
    let mut used = 0;
    let mut cut = None;
    for (at, c) in text.char_indices() {
        used += wide(c);
        if used > most {
            let at = cut.unwrap_or(at);
            let (first, rest) = text.split_at(at);
            return vec![first.trim_end().into(), shorten(rest.trim_start(), most)];
        }
        // Chinese breaks after any mark, other texts between words.
        if c == ' ' || "，。；！？、”".contains(c) {
            cut = Some(at + c.len_utf8());
        }
    }
    vec![text.into()]
}

/// At most so many half-width characters.
pub(super) fn shorten(text: &str, most: usize) -> String {
    let wide = |c: char| if c.is_ascii() { 1 } else { 2 };
    if text.chars().map(wide).sum::<usize>() <= most {
        return text.into();
    }
    let mut used = 1;
    let kept: String = text
        .chars()
        .take_while(|c| {
            used += wide(*c);
            used <= most
        })
        .collect();
    format!("{}…", kept.trim_end())
}

pub(super) fn escape(text: &str) -> String {
    let mut safe = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => safe.push_str("&amp;"),
            '<' => safe.push_str("&lt;"),
            '>' => safe.push_str("&gt;"),
            '"' => safe.push_str("&quot;"),
            c => safe.push(c),
        }
    }
    safe
}

//! Numbers: which may be called, and how a gateway writes them.

use crate::config::{Gateway, NumberForm, TrunkSection};

/// What the lists say about a number.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Policy {
    /// It may be called.
    Allowed,
    /// It is called whatever limits say.
    Emergency,
    /// It may not, with the setting that says so.
    Forbidden(&'static str),
}

/// Looks a normalised number up in the lists: the longest prefix that fits decides.
pub fn policy(trunk: &TrunkSection, number: &str) -> Policy {
    if trunk.emergency.iter().any(|emergency| emergency == number) {
        return Policy::Emergency;
    }
    let plain = number.strip_prefix('+').unwrap_or(number);
    let good = (2..=20).contains(&plain.len()) && plain.bytes().all(|b| b.is_ascii_digit());
    let longest = |prefixes: &[String]| {
        prefixes.iter().filter(|prefix| number.starts_with(prefix.as_str())).map(String::len).max()
    };
    match (longest(&trunk.allow).filter(|_| good), longest(&trunk.premium)) {
        (None, _) => Policy::Forbidden("the number is not in trunk.allow"),
        (Some(allow), Some(premium)) if premium > allow => {
            Policy::Forbidden("the number is in trunk.premium, and trunk.allow does not name it")
        }
        (Some(_), _) => Policy::Allowed,
    }
}

/// A number as a gateway wants it dialled. Short numbers keep their form.
pub fn outward(gateway: &Gateway, country: &str, number: &str) -> String {
    let dialled = written(gateway, country, number);
    let rest = match gateway.strip.as_str() {
        "" => dialled.as_str(),
        strip => dialled.strip_prefix(strip).unwrap_or(&dialled),
    };
    format!("{}{rest}", gateway.prepend)
}

/// A number in the form of a gateway, as it is also told who calls.
pub fn written(gateway: &Gateway, country: &str, number: &str) -> String {
    let country = if gateway.country.is_empty() { country } else { &gateway.country };
    let Some(digits) = number.strip_prefix('+') else {
        return number.to_string();
    };
    match gateway.numbers {
        NumberForm::E164 => number.to_string(),
        NumberForm::Plain => digits.to_string(),
        NumberForm::International => format!("00{digits}"),
        NumberForm::National => match digits.strip_prefix(country).filter(|_| !country.is_empty()) {
            Some(own) => format!("{}{own}", trunk_prefix(country, own)),
            None => format!("00{digits}"),
        },
    }
}

/// What is dialled before a number within its country.
fn trunk_prefix(country: &str, own: &str) -> &'static str {
    match country {
        // No trunk prefix, or one that is part of the number (ITU-T E.164 national annexes).
        "1" | "30" | "34" | "39" | "45" | "47" | "48" | "65" | "351" | "352" | "420" | "852" | "853" => "",
        "7" => "8",
        // Mobile numbers are dialled as they are.
        "86" if own.len() == 11 && own.starts_with('1') => "",
        _ => "0",
    }
}

/// A number that came from a gateway, before it is brought into international form.
pub fn inward(gateway: &Gateway, number: &str) -> String {
    let rest = match gateway.in_strip.as_str() {
        "" => number,
        strip => number.strip_prefix(strip).unwrap_or(number),
    };
    format!("{}{rest}", gateway.in_prepend)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_longest_prefix_decides_and_emergencies_pass() {
        let trunk = |allow: &[&str]| TrunkSection {
            allow: allow.iter().map(ToString::to_string).collect(),
            premium: vec!["+86168".into()],
            ..TrunkSection::default()
        };
        let narrow = trunk(&["+86", "10086"]);
        for (number, may) in [
            ("+8613800138000", Policy::Allowed),
            ("10086", Policy::Allowed),
            ("110", Policy::Emergency),
            ("+86", Policy::Allowed),
        ] {
            assert_eq!(policy(&narrow, number), may, "{number}");
        }
        for number in ["+18005550100", "8613800138000", "+86138x", "+861380013800013800138", "", "+8616812345", "1101"]
        {
            assert!(matches!(policy(&narrow, number), Policy::Forbidden(_)), "{number}");
        }
        assert_eq!(policy(&trunk(&["+86", "+86168"]), "+8616812345"), Policy::Allowed);
    }

    #[test]
    fn each_gateway_gets_its_form() {
        let gateway = |numbers, strip: &str, prepend: &str| Gateway {
            numbers,
            strip: strip.into(),
            prepend: prepend.into(),
            ..Gateway::at("h")
        };
        let all = [NumberForm::E164, NumberForm::Plain, NumberForm::International, NumberForm::National];
        let forms = |number: &str| all.map(|form| outward(&gateway(form, "", ""), "86", number));
        assert_eq!(forms("+8613800138000"), ["+8613800138000", "8613800138000", "008613800138000", "13800138000"]);
        assert_eq!(forms("+862012345678")[3], "02012345678");
        assert_eq!(forms("+442079460000")[3], "00442079460000");
        assert_eq!(forms("110"), ["110"; 4]);
        assert_eq!(outward(&gateway(NumberForm::National, "0", "9"), "86", "+862012345678"), "92012345678");
        assert_eq!(
            outward(&Gateway { country: "44".into(), ..gateway(NumberForm::National, "", "") }, "86", "+442079460000"),
            "02079460000"
        );
        assert_eq!(outward(&gateway(NumberForm::National, "", ""), "", "+442079460000"), "00442079460000");
        let inbound = Gateway { in_strip: "9".into(), in_prepend: "0".into(), ..Gateway::at("h") };
        assert_eq!((inward(&inbound, "92012345678"), inward(&inbound, "600")), ("02012345678".into(), "0600".into()));
    }
}

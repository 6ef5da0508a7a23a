//! Dates of certificates in words.

use x509_parser::time::ASN1Time;

/// Seconds since 1970 as a date of UTC.
pub fn words(seconds: i64) -> String {
    let Ok(time) = ASN1Time::from_timestamp(seconds) else {
        return format!("{seconds} s after 1970");
    };
    let time = time.to_datetime();
    format!(
        "{:04}-{:02}-{:02}T{:02}:{:02}:{:02}Z",
        time.year(),
        u8::from(time.month()),
        time.day(),
        time.hour(),
        time.minute(),
        time.second()
    )
}

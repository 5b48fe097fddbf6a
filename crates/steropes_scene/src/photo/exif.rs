//! What the camera wrote beside the pixels: how it was held and its focal length.

use super::Orientation;
use exif::{Exif, In, Reader, Tag, Value};
use std::io::Cursor;

/// Diagonal of the 36 mm x 24 mm frame that "35 mm equivalent" focal lengths refer to (CIPA DC-008).
const FILM_DIAGONAL_MM: f64 = 43.266_615_305_567_87;

/// Focal lengths outside this range, in long sides of the photo, are taken for wrong entries.
const PLAUSIBLE_FOCAL: std::ops::RangeInclusive<f64> = 0.2..=20.0;

/// A focal length from the EXIF entries: a starting value, not a measurement.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct FocalPrior {
    /// In pixels of the original photo (upright or stored: the same).
    pub focal_px: f64,
    /// Which entries it comes from.
    pub source: FocalSource,
}

/// The EXIF entries behind a [`FocalPrior`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FocalSource {
    /// `FocalLengthIn35mmFilm`, over the diagonal.
    FilmEquivalent,
    /// `FocalLength` and `FocalPlaneXResolution`.
    SensorResolution,
}

/// The EXIF entries that matter here.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Metadata {
    pub(super) orientation: Orientation,
    pub(super) focal_prior: Option<FocalPrior>,
}

/// Reads the EXIF entries of a JPEG, PNG, WebP or TIFF file. Broken ones count as absent, as in Pillow.
pub(super) fn read_metadata(file: &[u8], stored_size: [u32; 2]) -> Metadata {
    let exif = Reader::new()
        .continue_on_error(true)
        .read_from_container(&mut Cursor::new(file))
        .or_else(|error| error.distill_partial_result(|_| ()));
    match exif {
        Ok(exif) => {
            Metadata { orientation: orientation(&exif), focal_prior: focal_prior(&exif, stored_size) }
        }
        Err(_) => Metadata { orientation: Orientation::NoTransforms, focal_prior: None },
    }
}

fn orientation(exif: &Exif) -> Orientation {
    let value = exif.get_field(Tag::Orientation, In::PRIMARY).and_then(|field| field.value.get_uint(0));
    value
        .and_then(|v| u8::try_from(v).ok())
        .and_then(Orientation::from_exif)
        .unwrap_or(Orientation::NoTransforms)
}

fn focal_prior(exif: &Exif, stored_size: [u32; 2]) -> Option<FocalPrior> {
    let film = film_equivalent_px(exif, stored_size).map(|px| (px, FocalSource::FilmEquivalent));
    let sensor = || sensor_px(exif, stored_size).map(|px| (px, FocalSource::SensorResolution));
    let (focal_px, source) = film.or_else(sensor)?;
    let long_side = f64::from(stored_size[0].max(stored_size[1]));
    PLAUSIBLE_FOCAL.contains(&(focal_px / long_side)).then_some(FocalPrior { focal_px, source })
}

fn film_equivalent_px(exif: &Exif, [width, height]: [u32; 2]) -> Option<f64> {
    let focal_mm = positive(exif, Tag::FocalLengthIn35mmFilm)?;
    Some(focal_mm / FILM_DIAGONAL_MM * f64::from(width).hypot(f64::from(height)))
}

/// `FocalPlaneXResolution` counts the pixels of the camera's own image, which may have been resized since:
/// its width stands in `PixelXDimension`.
fn sensor_px(exif: &Exif, [width, _]: [u32; 2]) -> Option<f64> {
    let focal_mm = positive(exif, Tag::FocalLength)?;
    let pixels_per_unit = positive(exif, Tag::FocalPlaneXResolution)?;
    let unit = exif.get_field(Tag::FocalPlaneResolutionUnit, In::PRIMARY).and_then(|f| f.value.get_uint(0));
    let unit_mm = match unit.unwrap_or(2) {
        2 => 25.4,
        3 => 10.0,
        4 => 1.0,
        5 => 0.001,
        _ => return None,
    };
    let resized = positive(exif, Tag::PixelXDimension).map_or(1.0, |camera| f64::from(width) / camera);
    Some(focal_mm * pixels_per_unit / unit_mm * resized)
}

/// The first number of an entry if it is finite and positive; EXIF writes 0 for "unknown".
fn positive(exif: &Exif, tag: Tag) -> Option<f64> {
    let value = match &exif.get_field(tag, In::PRIMARY)?.value {
        Value::Rational(values) => values.first()?.to_f64(),
        other => f64::from(other.get_uint(0)?),
    };
    (value.is_finite() && value > 0.0).then_some(value)
}

#[cfg(test)]
mod tests {
    use super::*;
    use exif::{Field, Rational, experimental::Writer};

    /// A TIFF structure with these entries, as it stands in the EXIF segment of a photo.
    fn metadata(entries: Vec<(Tag, Value)>, stored_size: [u32; 2]) -> Metadata {
        let fields: Vec<_> =
            entries.into_iter().map(|(tag, value)| Field { tag, ifd_num: In::PRIMARY, value }).collect();
        let mut writer = Writer::new();
        fields.iter().for_each(|f| writer.push_field(f));
        let mut out = Cursor::new(Vec::new());
        writer.write(&mut out, false).unwrap();
        read_metadata(&out.into_inner(), stored_size)
    }

    #[test]
    fn the_film_equivalent_refers_to_the_diagonal() {
        let got = metadata(vec![(Tag::FocalLengthIn35mmFilm, Value::Short(vec![28]))], [4000, 3000]);
        let prior = got.focal_prior.unwrap();
        assert!((prior.focal_px - 28.0 / 43.2666 * 5000.0).abs() < 0.01, "{prior:?}");
        assert_eq!(prior.source, FocalSource::FilmEquivalent);
    }

    #[test]
    fn the_sensor_resolution_is_scaled_to_the_file() {
        let rational = |n| Value::Rational(vec![Rational { num: n, denom: 1 }]);
        let entries = || {
            vec![
                (Tag::FocalLength, rational(50)),
                (Tag::FocalPlaneXResolution, rational(2000)),
                (Tag::FocalPlaneResolutionUnit, Value::Short(vec![3])),
                (Tag::PixelXDimension, Value::Long(vec![6000])),
            ]
        };
        // 200 px/mm * 50 mm = 10000 px on the camera's 6000 px, a sixth of it on 1000 px.
        let prior = metadata(entries(), [1000, 667]).focal_prior.unwrap();
        assert!((prior.focal_px - 10_000.0 / 6.0).abs() < 1e-9, "{prior:?}");
        assert_eq!(prior.source, FocalSource::SensorResolution);
    }

    #[test]
    fn unknown_and_absurd_entries_are_no_prior() {
        let zero = vec![(Tag::FocalLengthIn35mmFilm, Value::Short(vec![0]))];
        assert_eq!(metadata(zero, [4000, 3000]).focal_prior, None);
        let absurd = vec![(Tag::FocalLengthIn35mmFilm, Value::Short(vec![60_000]))];
        assert_eq!(metadata(absurd, [4000, 3000]).focal_prior, None);
        assert_eq!(read_metadata(b"no picture", [1, 1]).orientation, Orientation::NoTransforms);
    }

    #[test]
    fn orientations_outside_the_table_count_as_upright() {
        for value in 0..=9u16 {
            let got = metadata(vec![(Tag::Orientation, Value::Short(vec![value]))], [40, 30]).orientation;
            let want = if (1..=8).contains(&value) { value as u8 } else { 1 };
            assert_eq!(got.to_exif(), want);
        }
    }
}

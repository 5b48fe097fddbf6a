//! Folders of pictures.

use crate::error::checked_rate;
use crate::{Frame, FrameSource, VideoError};
use exif::{In, Reader, Tag, Value};
use image::RgbImage;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// File name endings of pictures, in lower case.
pub(crate) const EXTENSIONS: [&str; 6] = ["jpg", "jpeg", "png", "webp", "tif", "tiff"];

/// Whole numbers in file names with at least so many digits are times; below, they count.
const DIGITS_OF_A_TIME: usize = 11;

/// Reads a picture file to upright RGB; the error is one line that names the file.
pub type ReadPicture = fn(&Path) -> Result<RgbImage, String>;

/// Where the times of a folder's pictures come from.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum PictureTimes {
    /// So many pictures a second.
    Rate(f64),
    /// The last number in the file name: seconds if it has a point (`1305031102.175304.png`), else, by its digits, milliseconds (11 to 13),
    /// microseconds (14 to 16) or nanoseconds (more).
    Names,
    /// The EXIF entries `DateTimeOriginal` and `SubSecTimeOriginal`.
    Exif,
}

/// The pictures of a folder as a video, in the natural order of their names (`2.png` before `10.png`).
///
/// Pictures are read when they are asked for; times are known before the first.
pub struct Pictures {
    files: Vec<PathBuf>,
    times: Vec<Duration>,
    next: usize,
    read: ReadPicture,
}

impl Pictures {
    /// The pictures in `folder`; subfolders and other files are left out.
    ///
    /// # Errors
    /// [`VideoError::Read`], [`VideoError::NoPictures`], [`VideoError::Setting`] for a rate out of its range, or [`VideoError::PictureTime`] for a name or
    /// file without a time, or a time that is not after the one before.
    pub fn open(folder: &Path, times: PictureTimes, read: ReadPicture) -> Result<Self, VideoError> {
        let files = pictures_in(folder)?;
        let times = times_of(&files, times)?;
        Ok(Self { files, times, next: 0, read })
    }

    /// The files, in the order of the frames.
    pub fn files(&self) -> &[PathBuf] {
        &self.files
    }

    /// Pictures a second on average; `None` of one picture.
    pub fn frame_rate(&self) -> Option<f64> {
        let (last, between) = (self.times.last()?, self.times.len() - 1);
        (between > 0).then(|| between as f64 / last.as_secs_f64())
    }
}

fn pictures_in(folder: &Path) -> Result<Vec<PathBuf>, VideoError> {
    let error = |source| VideoError::Read { path: folder.to_owned(), source };
    let mut files = Vec::new();
    for entry in std::fs::read_dir(folder).map_err(error)? {
        let path = entry.map_err(error)?.path();
        let extension = path.extension().unwrap_or_default().to_string_lossy().to_ascii_lowercase();
        if EXTENSIONS.contains(&extension.as_str()) && !path.is_dir() {
            files.push(path);
        }
    }
    if files.is_empty() {
        return Err(VideoError::NoPictures { folder: folder.to_owned() });
    }
    // Names that differ in leading zeros only are equal in that order.
    files.sort_by(|a, b| alphanumeric_sort::compare_path(a, b).then_with(|| a.cmp(b)));
    Ok(files)
}

fn times_of(files: &[PathBuf], times: PictureTimes) -> Result<Vec<Duration>, VideoError> {
    if let PictureTimes::Rate(rate) = times {
        let rate = checked_rate("the rate of the pictures", rate)?;
        return Ok((0..files.len()).map(|i| Duration::from_secs_f64(i as f64 / rate)).collect());
    }
    let nanoseconds = |path: &PathBuf| {
        let time = if times == PictureTimes::Names { time_in_name(path) } else { time_in_exif(path) };
        time.map_err(|problem| VideoError::PictureTime { path: path.clone(), problem })
    };
    let absolute = files.iter().map(nanoseconds).collect::<Result<Vec<i128>, _>>()?;
    for (pair, path) in absolute.windows(2).zip(&files[1..]) {
        if pair[1] <= pair[0] {
            let problem = "its time is not after that of the picture before it in the order of names: give a rate instead";
            return Err(VideoError::PictureTime { path: path.clone(), problem: problem.to_owned() });
        }
    }
    let since_first = |time: &i128| u64::try_from(time - absolute[0]).map(Duration::from_nanos);
    let times = absolute.iter().map(since_first).collect::<Result<Vec<_>, _>>();
    times.map_err(|_| VideoError::PictureTime {
        path: files[0].clone(),
        problem: "the times lie centuries apart: give a rate instead".to_owned(),
    })
}

/// Nanoseconds of the last number in a file name.
fn time_in_name(path: &Path) -> Result<i128, String> {
    let stem = path.file_stem().unwrap_or_default().to_string_lossy();
    let is_part = |c: char| c.is_ascii_digit() || c == '.';
    let number = stem.rsplit(|c: char| !is_part(c)).map(|n| n.trim_matches('.')).find(|n| !n.is_empty());
    let refuse = |why: &str| Err(format!("{why}: give a rate instead"));
    let Some(number) = number else { return refuse("its name holds no number") };
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    if fraction.contains('.') || fraction.len() > 9 || whole.len() > 20 {
        return refuse("the number in its name is no time");
    }
    let digits = |text: &str| text.parse::<i128>().map_err(|_| "the number in its name is no time".to_owned());
    if !fraction.is_empty() {
        let scale = 10i128.pow(9 - fraction.len() as u32);
        return Ok(digits(whole)? * 1_000_000_000 + digits(fraction)? * scale);
    }
    match whole.len() {
        0..DIGITS_OF_A_TIME => refuse("the number in its name counts and is no time"),
        11..=13 => Ok(digits(whole)? * 1_000_000),
        14..=16 => Ok(digits(whole)? * 1000),
        _ => digits(whole),
    }
}

/// Nanoseconds of when the photo was taken, counted from an arbitrary day.
fn time_in_exif(path: &Path) -> Result<i128, String> {
    const NO_TIME: &str = "it has no EXIF entry DateTimeOriginal: give a rate instead";
    let file = std::fs::File::open(path).map_err(|error| format!("cannot be read: {error}"))?;
    let mut file = std::io::BufReader::new(file);
    let exif = Reader::new()
        .continue_on_error(true)
        .read_from_container(&mut file)
        .or_else(|error| error.distill_partial_result(|_| ()));
    let exif = exif.map_err(|_| NO_TIME.to_owned())?;
    let text = |tag| match &exif.get_field(tag, In::PRIMARY)?.value {
        Value::Ascii(lines) => Some(String::from_utf8_lossy(lines.first()?).trim().to_owned()),
        _ => None,
    };
    let taken = text(Tag::DateTimeOriginal).and_then(|t| exif::DateTime::from_ascii(t.as_bytes()).ok());
    let taken = taken.ok_or(NO_TIME)?;
    let days = days_since_march_0000(i128::from(taken.year), i128::from(taken.month), i128::from(taken.day));
    let seconds = ((24 * days + i128::from(taken.hour)) * 60 + i128::from(taken.minute)) * 60;
    let digits = text(Tag::SubSecTimeOriginal).unwrap_or_default();
    let digits: String = digits.chars().take_while(char::is_ascii_digit).take(9).collect();
    let fraction = format!("{digits:0<9}").parse::<i128>().unwrap_or(0);
    Ok((seconds + i128::from(taken.second)) * 1_000_000_000 + fraction)
}

/// Days of the Gregorian calendar, whose year is taken to begin in March so that leap days are its last.
fn days_since_march_0000(year: i128, month: i128, day: i128) -> i128 {
    let (year, month) = if month > 2 { (year, month - 3) } else { (year - 1, month + 9) };
    365 * year + year.div_euclid(4) - year.div_euclid(100) + year.div_euclid(400) + (153 * month + 2) / 5 + day - 1
}

impl FrameSource for Pictures {
    fn next_frame(&mut self) -> Result<Option<Frame>, VideoError> {
        let Some(path) = self.files.get(self.next) else { return Ok(None) };
        let index = self.next;
        match (self.read)(path) {
            Ok(image) => {
                self.next += 1;
                Ok(Some(Frame { index: index as u64, time: self.times[index], image }))
            }
            Err(said) => {
                self.next = self.files.len();
                Err(VideoError::Picture { said: crate::error::one_line(&said) })
            }
        }
    }

    fn is_live(&self) -> bool {
        false
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(path: &Path) -> Result<RgbImage, String> {
        image::open(path).map(|image| image.into_rgb8()).map_err(|e| format!("`{}`: {e}", path.display()))
    }

    fn folder_of(names: &[&str]) -> tempfile::TempDir {
        let folder = tempfile::tempdir().unwrap();
        for (i, name) in names.iter().enumerate() {
            RgbImage::from_pixel(3, 2, image::Rgb([i as u8; 3])).save(folder.path().join(name)).unwrap();
        }
        folder
    }

    fn problem(folder: &Path, times: PictureTimes) -> String {
        Pictures::open(folder, times, read).err().unwrap().to_string()
    }

    #[test]
    fn names_are_in_natural_order_with_the_times_of_the_rate() {
        let folder = folder_of(&["f10.png", "f2.png", "f1.PNG"]);
        std::fs::write(folder.path().join("notes.txt"), "no picture").unwrap();
        std::fs::create_dir(folder.path().join("sub.png")).unwrap();
        let mut pictures = Pictures::open(folder.path(), PictureTimes::Rate(4.0), read).unwrap();
        assert_eq!(pictures.frame_rate(), Some(4.0));
        let mut seen = Vec::new();
        while let Some(frame) = pictures.next_frame().unwrap() {
            seen.push((frame.index, frame.time.as_millis(), frame.image.get_pixel(0, 0).0[0]));
        }
        assert_eq!(seen, [(0, 0, 2), (1, 250, 1), (2, 500, 0)]);
        assert!(!pictures.is_live() && pictures.next_frame().unwrap().is_none());
    }

    #[test]
    fn names_can_be_times() {
        let nanoseconds = |name: &str| time_in_name(Path::new(name));
        assert_eq!(nanoseconds("1305031102.175304.png"), Ok(1_305_031_102_175_304_000));
        assert_eq!(nanoseconds("cam0_1403636579763555584.png"), Ok(1_403_636_579_763_555_584));
        assert_eq!(nanoseconds("1403636579763.png"), Ok(1_403_636_579_763_000_000));
        assert_eq!(nanoseconds("t1403636579763555.jpg"), Ok(1_403_636_579_763_555_000));
        for no_time in ["frame_0001.png", "picture.png", "1.2.3.png", "0.1234567890123.png"] {
            assert!(nanoseconds(no_time).unwrap_err().contains("give a rate"), "{no_time}");
        }
        let folder = folder_of(&["10.5.png", "10.75.png", "12.0.png"]);
        let pictures = Pictures::open(folder.path(), PictureTimes::Names, read).unwrap();
        assert_eq!(pictures.times.iter().map(Duration::as_millis).collect::<Vec<_>>(), [0, 250, 1500]);
        let back = folder_of(&["b2.5.png", "a3.5.png"]);
        assert!(problem(back.path(), PictureTimes::Names).contains("not after"));
    }

    #[test]
    fn photos_without_a_time_are_named() {
        let folder = folder_of(&["a.png"]);
        let line = problem(folder.path(), PictureTimes::Exif);
        assert!(line.contains("a.png") && line.contains("DateTimeOriginal"), "{line}");
    }

    #[test]
    fn days_follow_each_other() {
        let all = [(2023, 12, 31), (2024, 1, 1), (2024, 2, 28), (2024, 2, 29), (2024, 3, 1), (2025, 3, 1)];
        let days: Vec<i128> = all.map(|(y, m, d)| days_since_march_0000(y, m, d)).to_vec();
        let steps: Vec<i128> = days.windows(2).map(|pair| pair[1] - pair[0]).collect();
        assert_eq!(steps, [1, 58, 1, 1, 365]);
    }

    #[test]
    fn what_cannot_be_used_is_one_line() {
        let folder = folder_of(&["1.png"]);
        assert!(problem(folder.path(), PictureTimes::Rate(0.0)).contains("frames a second"));
        assert!(problem(&folder.path().join("missing"), PictureTimes::Rate(1.0)).contains("missing"));
        let empty = tempfile::tempdir().unwrap();
        assert!(problem(empty.path(), PictureTimes::Rate(1.0)).contains("no pictures"));
        std::fs::write(folder.path().join("2.png"), "broken").unwrap();
        let mut pictures = Pictures::open(folder.path(), PictureTimes::Rate(1.0), read).unwrap();
        assert!(pictures.next_frame().unwrap().is_some());
        assert!(pictures.next_frame().unwrap_err().to_string().contains("2.png"));
        assert!(pictures.next_frame().unwrap().is_none(), "it gives nothing more");
    }
}

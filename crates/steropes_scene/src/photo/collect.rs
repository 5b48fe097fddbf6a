//! Which files are the photos.

use super::PhotoError;
use super::error::HEIF_CONVERT;
use sha2::{Digest as _, Sha256};
use std::collections::{BTreeMap, HashMap, HashSet};
use std::fmt;
use std::fs::File;
use std::path::{Path, PathBuf};

/// File name endings of photos, in lower case.
pub const EXTENSIONS: [&str; 6] = ["jpg", "jpeg", "png", "webp", "tif", "tiff"];

const HEIF_EXTENSIONS: [&str; 4] = ["heic", "heif", "heics", "hif"];

/// The photos that the arguments name, and what was left out.
#[derive(Debug, Default)]
pub struct PhotoFiles {
    /// The photos, in the order of the arguments; within a folder in the byte order of the names.
    pub paths: Vec<PathBuf>,
    /// Files that are not used, each with the reason.
    pub left_out: Vec<LeftOut>,
}

/// A file that is not used. Its `Display` is one line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LeftOut {
    /// The file.
    pub path: PathBuf,
    /// Why.
    pub why: LeftOutReason,
}

/// Why a file is not used.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum LeftOutReason {
    /// Its name does not end like a photo's.
    NotAPhoto,
    /// HEIC/HEIF.
    Heif,
    /// Given before.
    SamePath,
    /// Same bytes as another photo.
    SameContent(PathBuf),
}

impl fmt::Display for LeftOut {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let path = self.path.display();
        match &self.why {
            LeftOutReason::NotAPhoto => {
                write!(f, "`{path}` is left out: its name does not end in {}", EXTENSIONS.join(", "))
            }
            LeftOutReason::Heif => write!(f, "`{path}` is left out: it is a HEIC/HEIF file{HEIF_CONVERT}"),
            LeftOutReason::SamePath => write!(f, "`{path}` is given more than once and used once"),
            LeftOutReason::SameContent(first) => {
                write!(f, "`{path}` is left out: it is a copy of `{}`", first.display())
            }
        }
    }
}

/// The photos among files and folders.
///
/// A folder stands for its files (not those of its subfolders) in the byte order of their names. Files that
/// are no photos, HEIC/HEIF files and duplicates (same path, or same content) are left out and listed.
///
/// # Errors
/// [`PhotoError::Io`] if an argument cannot be read, [`PhotoError::NoPhotos`] if nothing is left.
pub fn collect_photos<P: AsRef<Path>>(arguments: &[P]) -> Result<PhotoFiles, PhotoError> {
    let mut found = PhotoFiles::default();
    let mut seen = HashSet::new();
    for argument in arguments {
        let argument = argument.as_ref();
        let metadata = std::fs::metadata(argument).map_err(|cause| io(argument, cause))?;
        let files = if metadata.is_dir() { files_in(argument)? } else { vec![argument.to_owned()] };
        for path in files {
            match kind(&path) {
                Kind::Other => found.leave_out(path, LeftOutReason::NotAPhoto),
                Kind::Heif => found.leave_out(path, LeftOutReason::Heif),
                Kind::Photo => {
                    let canonical = path.canonicalize().map_err(|cause| io(&path, cause))?;
                    if seen.insert(canonical) {
                        found.paths.push(path);
                    } else {
                        found.leave_out(path, LeftOutReason::SamePath);
                    }
                }
            }
        }
    }
    found.leave_out_copies()?;
    if found.paths.is_empty() {
        let given = arguments.iter().map(|a| format!("`{}`", a.as_ref().display()));
        return Err(PhotoError::NoPhotos {
            given: given.collect::<Vec<_>>().join(", "),
            heif_files: found.left_out.iter().filter(|l| l.why == LeftOutReason::Heif).count(),
        });
    }
    Ok(found)
}

/// A name for each photo, unique within the set: its file name, or the path as given where two photos share one.
pub(super) fn photo_names<P: AsRef<Path>>(paths: &[P]) -> Vec<String> {
    let file_name = |p: &P| p.as_ref().file_name().unwrap_or_default().to_string_lossy().into_owned();
    let mut uses = HashMap::new();
    for path in paths {
        *uses.entry(file_name(path)).or_insert(0) += 1;
    }
    paths
        .iter()
        .map(|path| match file_name(path) {
            name if uses[&name] == 1 => name,
            _ => path.as_ref().to_string_lossy().replace('\\', "/"),
        })
        .collect()
}

impl PhotoFiles {
    fn leave_out(&mut self, path: PathBuf, why: LeftOutReason) {
        self.left_out.push(LeftOut { path, why });
    }

    /// Moves every photo with the same bytes as an earlier one to `left_out`. Only files of equal length are read.
    fn leave_out_copies(&mut self) -> Result<(), PhotoError> {
        let mut by_length: BTreeMap<u64, Vec<PathBuf>> = BTreeMap::new();
        for path in &self.paths {
            let length = std::fs::metadata(path).map_err(|cause| io(path, cause))?.len();
            // Empty files are all alike; each of them is an error of its own.
            if length > 0 {
                by_length.entry(length).or_default().push(path.clone());
            }
        }
        let mut copies = HashMap::new();
        for group in by_length.into_values().filter(|group| group.len() > 1) {
            let mut first_of = HashMap::new();
            for path in group {
                let hash = content_hash(&path).map_err(|cause| io(&path, cause))?;
                if let Some(first) = first_of.get(&hash) {
                    copies.insert(path, PathBuf::clone(first));
                } else {
                    first_of.insert(hash, path);
                }
            }
        }
        for path in std::mem::take(&mut self.paths) {
            match copies.remove(&path) {
                Some(first) => self.leave_out(path, LeftOutReason::SameContent(first)),
                None => self.paths.push(path),
            }
        }
        Ok(())
    }
}

enum Kind {
    Photo,
    Heif,
    Other,
}

fn kind(path: &Path) -> Kind {
    let extension = path.extension().unwrap_or_default().to_string_lossy().to_ascii_lowercase();
    if EXTENSIONS.contains(&extension.as_str()) {
        Kind::Photo
    } else if HEIF_EXTENSIONS.contains(&extension.as_str()) {
        Kind::Heif
    } else {
        Kind::Other
    }
}

/// The files of a folder, in the byte order of their names.
fn files_in(folder: &Path) -> Result<Vec<PathBuf>, PhotoError> {
    let mut paths = Vec::new();
    for entry in std::fs::read_dir(folder).map_err(|cause| io(folder, cause))? {
        let path = entry.map_err(|cause| io(folder, cause))?.path();
        // A dangling link is kept, so that a photo that cannot be read is named later.
        if !path.is_dir() {
            paths.push(path);
        }
    }
    paths.sort_by(|a, b| {
        let bytes = |p: &Path| p.file_name().unwrap_or_default().as_encoded_bytes().to_vec();
        bytes(a).cmp(&bytes(b))
    });
    Ok(paths)
}

fn content_hash(path: &Path) -> std::io::Result<[u8; 32]> {
    let mut hasher = Sha256::new();
    std::io::copy(&mut File::open(path)?, &mut hasher)?;
    Ok(hasher.finalize().into())
}

fn io(path: &Path, cause: std::io::Error) -> PhotoError {
    PhotoError::Io { path: path.to_owned(), cause }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn folder_with(files: &[(&str, &str)]) -> tempfile::TempDir {
        let folder = tempfile::tempdir().unwrap();
        for (name, content) in files {
            std::fs::write(folder.path().join(name), content).unwrap();
        }
        folder
    }

    fn names(files: &PhotoFiles) -> Vec<String> {
        files.paths.iter().map(|p| p.file_name().unwrap().to_str().unwrap().to_owned()).collect()
    }

    #[test]
    fn a_folder_is_listed_in_byte_order_and_other_files_are_left_out() {
        let folder = folder_with(&[
            ("b.JPG", "1"),
            ("a b ü.png", "22"),
            ("Z.tiff", "333"),
            ("notes.txt", "4"),
            ("c.HEIC", "5"),
        ]);
        std::fs::create_dir(folder.path().join("sub.jpg")).unwrap();
        let files = collect_photos(&[folder.path()]).unwrap();
        assert_eq!(names(&files), ["Z.tiff", "a b ü.png", "b.JPG"]);
        let reasons: Vec<_> = files.left_out.iter().map(|l| l.why.clone()).collect();
        assert_eq!(reasons, [LeftOutReason::Heif, LeftOutReason::NotAPhoto]);
        let line = files.left_out[0].to_string();
        assert!(line.contains("c.HEIC") && line.contains("heif-convert") && !line.contains('\n'), "{line}");
    }

    #[test]
    fn duplicates_are_used_once_and_named() {
        let folder =
            folder_with(&[("a.jpg", "same"), ("b.jpg", "else"), ("c.jpg", "same"), ("d.jpg", "longer")]);
        let twice = [folder.path().to_owned(), folder.path().join("b.jpg")];
        let files = collect_photos(&twice).unwrap();
        assert_eq!(names(&files), ["a.jpg", "b.jpg", "d.jpg"]);
        let lines: Vec<_> = files.left_out.iter().map(ToString::to_string).collect();
        assert_eq!(lines.len(), 2, "{lines:?}");
        assert!(lines[0].contains("b.jpg` is given more than once"), "{lines:?}");
        assert!(
            lines[1].contains("c.jpg") && lines[1].contains("copy of") && lines[1].contains("a.jpg"),
            "{lines:?}"
        );
    }

    #[test]
    fn nothing_to_use_is_an_error_that_says_what_was_expected() {
        let folder = folder_with(&[("a.heic", "1"), ("b.heif", "2")]);
        let line = collect_photos(&[folder.path()]).unwrap_err().to_string();
        assert!(line.contains("no photos in") && line.contains("2 are HEIC/HEIF files"), "{line}");
        let missing = folder.path().join("missing.jpg");
        assert!(matches!(collect_photos(&[missing]), Err(PhotoError::Io { .. })));
        assert!(matches!(collect_photos::<&Path>(&[]), Err(PhotoError::NoPhotos { .. })));
    }

    #[test]
    fn photo_names_are_unique() {
        assert_eq!(photo_names(&["x/a.jpg", "y/a.jpg", "y/b.jpg"]), ["x/a.jpg", "y/a.jpg", "b.jpg"]);
    }
}

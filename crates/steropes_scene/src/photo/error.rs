//! What can be wrong with a photo.

use std::fmt;
use std::path::PathBuf;

/// A photo that cannot be used. Every message is one line that names the file.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PhotoError {
    /// The file or folder cannot be read.
    #[error("`{}` cannot be read: {cause}", .path.display())]
    Io {
        /// The file or folder.
        path: PathBuf,
        /// What the system says.
        cause: std::io::Error,
    },
    /// Nothing in the arguments is a photo.
    #[error("no photos in {given}: expected files ending in {}{}", super::collect::EXTENSIONS.join(", "), heif_hint(*.heif_files))]
    NoPhotos {
        /// The arguments, quoted.
        given: String,
        /// How many HEIC/HEIF files were left out.
        heif_files: usize,
    },
    /// The file has no bytes.
    #[error("`{}` is empty (0 bytes)", .path.display())]
    Empty {
        /// The file.
        path: PathBuf,
    },
    /// The content is HEIC/HEIF.
    #[error("`{}` is a HEIC/HEIF file{}", .path.display(), HEIF_CONVERT)]
    Heif {
        /// The file.
        path: PathBuf,
    },
    /// The content is no supported picture format.
    #[error("`{}` must be a JPEG, PNG, WebP or TIFF picture, its content is none of them", .path.display())]
    Format {
        /// The file.
        path: PathBuf,
    },
    /// The file ends before the picture does.
    #[error("`{}` is truncated: the file ends before the picture does", .path.display())]
    Truncated {
        /// The file.
        path: PathBuf,
    },
    /// The decoder gave up.
    #[error("`{}` cannot be decoded: {reason}", .path.display())]
    Decode {
        /// The file.
        path: PathBuf,
        /// What the decoder says, in one line.
        reason: String,
    },
    /// More pixels than the limit. Nothing was allocated for them.
    #[error("`{}` must have at most {limit} pixels, its header says {} x {}", .path.display(), .size[0], .size[1])]
    TooLarge {
        /// The file.
        path: PathBuf,
        /// Width and height.
        size: [u32; 2],
        /// The largest number of pixels.
        limit: u64,
    },
    /// A side is shorter than the limit.
    #[error("`{}` must be at least {limit} x {limit} pixels, it is {} x {}", .path.display(), .size[0], .size[1])]
    TooSmall {
        /// The file.
        path: PathBuf,
        /// Width and height.
        size: [u32; 2],
        /// The shortest side.
        limit: u32,
    },
    /// So narrow that nothing is left of it at the network's size.
    #[error(
        "`{}` is too narrow: {} x {} pixels leave less than one {patch}-pixel patch at size {preset}",
        path.display(), .size[0], .size[1]
    )]
    TooNarrow {
        /// The file.
        path: PathBuf,
        /// Upright width and height.
        size: [u32; 2],
        /// The network's size.
        preset: u32,
        /// The network's patch.
        patch: u32,
    },
    /// Pixels that have no agreed mapping to 8-bit RGB.
    #[error("`{}` must hold 8-bit or 16-bit integer pixels, it holds {found}", .path.display())]
    PixelType {
        /// The file.
        path: PathBuf,
        /// The pixel type.
        found: String,
    },
}

/// How to make a HEIC/HEIF file readable; continues a line.
pub(super) const HEIF_CONVERT: &str = ", which cannot be decoded; convert it first: `heif-convert A.heic A.jpg` \
    (libheif), or on a Mac `sips -s format jpeg A.heic --out A.jpg`";

fn heif_hint(files: usize) -> String {
    match files {
        0 => String::new(),
        1 => format!("; 1 is a HEIC/HEIF file{HEIF_CONVERT}"),
        n => format!("; {n} are HEIC/HEIF files{HEIF_CONVERT}"),
    }
}

/// All photos of a set that cannot be used, one line each.
#[derive(Debug)]
pub struct PhotoErrors(pub Vec<PhotoError>);

impl fmt::Display for PhotoErrors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, error) in self.0.iter().enumerate() {
            if i > 0 {
                f.write_str("\n")?;
            }
            write!(f, "{error}")?;
        }
        Ok(())
    }
}

impl std::error::Error for PhotoErrors {}

impl From<PhotoError> for PhotoErrors {
    fn from(error: PhotoError) -> Self {
        Self(vec![error])
    }
}

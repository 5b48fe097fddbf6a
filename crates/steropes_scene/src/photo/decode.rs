//! From the bytes of a file to upright 8-bit RGB.

use super::exif::{FocalPrior, Metadata, read_metadata};
use super::{Orientation, PhotoError};
use image::{
    DynamicImage, ImageBuffer, ImageDecoder, ImageError, ImageFormat, ImageReader, Limits, Rgb, RgbImage,
};
use std::io::{Cursor, ErrorKind};
use std::path::Path;

/// Most pixels of a photo: 200 million, more than any camera makes, 600 MB as 8-bit RGB.
pub const MAX_PIXELS: u64 = 200_000_000;

/// Shortest side of a photo: below one patch of the network there is nothing to see.
pub const MIN_SIDE_PX: u32 = 16;

/// A decoded photo, turned upright.
#[derive(Debug)]
pub struct UprightPhoto {
    /// Upright pixels.
    pub rgb: RgbImage,
    /// Width and height of the pixels in the file.
    pub stored_size: [u32; 2],
    /// How the file's pixels had to be turned.
    pub orientation: Orientation,
    /// Focal length by the EXIF entries.
    pub focal_prior: Option<FocalPrior>,
}

/// Decodes a photo to upright 8-bit RGB.
///
/// All eight EXIF orientations are applied. Grey is replicated, alpha dropped without blending, palettes looked up,
/// 16-bit colour keeps its high byte; 16-bit grey is clipped at 255 (a warning says so): all as Pillow's
/// `exif_transpose` and `convert("RGB")` do it. JPEG decoders may differ from each other by 1 or 2 levels.
///
/// # Errors
/// A [`PhotoError`] if the file cannot be read, is no JPEG, PNG, WebP or TIFF, is truncated or damaged, has more
/// than [`MAX_PIXELS`] pixels (nothing is allocated for them) or a side below [`MIN_SIDE_PX`].
pub fn read_upright(path: &Path) -> Result<UprightPhoto, PhotoError> {
    let file = read_file(path)?;
    let format = picture_format(path, &file)?;
    if format == ImageFormat::Jpeg && !has_end_of_image(&file) {
        return Err(PhotoError::Truncated { path: path.to_owned() });
    }
    let decoder = decoder(path, &file, format)?;
    let stored_size = checked_size(path, &decoder)?;
    let pixels = DynamicImage::from_decoder(decoder).map_err(|error| decode_error(path, error))?;
    let Metadata { orientation, focal_prior } = read_metadata(&file, stored_size);
    drop(file);
    let mut upright = DynamicImage::ImageRgb8(into_rgb8(path, pixels)?);
    upright.apply_orientation(orientation);
    Ok(UprightPhoto { rgb: upright.into_rgb8(), stored_size, orientation, focal_prior })
}

/// Width and height of the pixels in the file, from its header.
///
/// # Errors
/// As [`read_upright`], except for damage behind the header.
pub fn read_stored_size(path: &Path) -> Result<[u32; 2], PhotoError> {
    let file = read_file(path)?;
    let format = picture_format(path, &file)?;
    checked_size(path, &decoder(path, &file, format)?)
}

fn read_file(path: &Path) -> Result<Vec<u8>, PhotoError> {
    let file = std::fs::read(path).map_err(|cause| PhotoError::Io { path: path.to_owned(), cause })?;
    if file.is_empty() { Err(PhotoError::Empty { path: path.to_owned() }) } else { Ok(file) }
}

/// The format by the content; names lie.
fn picture_format(path: &Path, file: &[u8]) -> Result<ImageFormat, PhotoError> {
    const SUPPORTED: [ImageFormat; 4] =
        [ImageFormat::Jpeg, ImageFormat::Png, ImageFormat::WebP, ImageFormat::Tiff];
    if let Ok(format) = image::guess_format(file)
        && SUPPORTED.contains(&format)
    {
        return Ok(format);
    }
    // ISO base media files open with a box `ftyp` that names the brand.
    const HEIF_BRANDS: [&[u8]; 8] = [b"heic", b"heix", b"hevc", b"heim", b"heis", b"mif1", b"msf1", b"hevx"];
    let is_heif =
        file.get(4..8) == Some(b"ftyp") && file.get(8..12).is_some_and(|b| HEIF_BRANDS.contains(&b));
    Err(if is_heif {
        PhotoError::Heif { path: path.to_owned() }
    } else {
        PhotoError::Format { path: path.to_owned() }
    })
}

fn decoder<'a>(
    path: &Path,
    file: &'a [u8],
    format: ImageFormat,
) -> Result<impl ImageDecoder + 'a, PhotoError> {
    let mut reader = ImageReader::with_format(Cursor::new(file), format);
    let mut limits = Limits::no_limits();
    // The widest pixels are 4 x 16 bits.
    limits.max_alloc = Some(MAX_PIXELS * 8);
    reader.limits(limits);
    reader.into_decoder().map_err(|error| decode_error(path, error))
}

fn checked_size(path: &Path, decoder: &impl ImageDecoder) -> Result<[u32; 2], PhotoError> {
    let (width, height) = decoder.dimensions();
    let size = [width, height];
    if u64::from(width) * u64::from(height) > MAX_PIXELS {
        return Err(PhotoError::TooLarge { path: path.to_owned(), size, limit: MAX_PIXELS });
    }
    if width.min(height) < MIN_SIDE_PX {
        return Err(PhotoError::TooSmall { path: path.to_owned(), size, limit: MIN_SIDE_PX });
    }
    Ok(size)
}

fn decode_error(path: &Path, error: ImageError) -> PhotoError {
    let path = path.to_owned();
    match error {
        ImageError::IoError(cause) if cause.kind() == ErrorKind::UnexpectedEof => {
            PhotoError::Truncated { path }
        }
        other => {
            let reason = other.to_string().split_whitespace().collect::<Vec<_>>().join(" ");
            if reason.contains("unexpected end of file") || reason.contains("unexpected EOF") {
                PhotoError::Truncated { path }
            } else {
                PhotoError::Decode { path, reason }
            }
        }
    }
}

/// Whether the segments of a JPEG file lead to its end-of-image marker. The decoder fills what is missing with
/// grey, which would pass for a picture.
fn has_end_of_image(file: &[u8]) -> bool {
    let mut at = 2; // behind the start-of-image marker
    loop {
        // Between segments and inside coded data alike, the next marker is 0xFF and a byte that is neither a
        // stuffed zero, nor a fill byte, nor a restart marker.
        let Some(offset) = file.get(at..).unwrap_or_default().windows(2).position(is_marker) else {
            return false;
        };
        let marker = file[at + offset + 1];
        at += offset + 2;
        match marker {
            0xD9 => return true,
            0x01 | 0xD8 => {}
            _ => match file.get(at..at + 2) {
                Some(&[high, low]) => at += usize::from(u16::from_be_bytes([high, low])).max(2),
                _ => return false,
            },
        }
    }
}

fn is_marker(bytes: &[u8]) -> bool {
    bytes[0] == 0xFF && !matches!(bytes[1], 0x00 | 0xFF | 0xD0..=0xD7)
}

fn into_rgb8(path: &Path, pixels: DynamicImage) -> Result<RgbImage, PhotoError> {
    let [width, height] = [pixels.width(), pixels.height()];
    let high = |v: u16| (v >> 8) as u8;
    let bytes = match pixels {
        DynamicImage::ImageRgb8(image) => return Ok(image),
        DynamicImage::ImageLuma8(image) => image.iter().flat_map(|&v| [v; 3]).collect(),
        DynamicImage::ImageLumaA8(image) => image.pixels().flat_map(|p| [p.0[0]; 3]).collect(),
        DynamicImage::ImageRgba8(image) => image.pixels().flat_map(|p| [p.0[0], p.0[1], p.0[2]]).collect(),
        DynamicImage::ImageRgb16(image) => image.iter().map(|&v| high(v)).collect(),
        DynamicImage::ImageRgba16(image) => {
            image.pixels().flat_map(|p| [p.0[0], p.0[1], p.0[2]].map(high)).collect()
        }
        DynamicImage::ImageLumaA16(image) => image.pixels().flat_map(|p| [high(p.0[0]); 3]).collect(),
        DynamicImage::ImageLuma16(image) => clipped_grey(path, &image),
        other => {
            let found = format!("{:?}", other.color());
            return Err(PhotoError::PixelType { path: path.to_owned(), found });
        }
    };
    Ok(ImageBuffer::<Rgb<u8>, Vec<u8>>::from_raw(width, height, bytes).expect("three bytes a pixel"))
}

fn clipped_grey(path: &Path, image: &ImageBuffer<image::Luma<u16>, Vec<u16>>) -> Vec<u8> {
    let clipped = image.iter().filter(|&&v| v > 255).count();
    if clipped > 0 {
        log::warn!(
            "`{}` holds 16-bit grey values; {clipped} of {} pixels are above 255 and become white: save it with 8 bits",
            path.display(),
            image.len()
        );
    }
    image.iter().flat_map(|&v| [v.min(255) as u8; 3]).collect()
}

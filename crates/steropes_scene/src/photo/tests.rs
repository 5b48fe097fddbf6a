//! Whole photos: files of every kind in, pixels or one clear line out.

use super::*;
use image::{DynamicImage, ExtendedColorType, ImageEncoder as _, ImageFormat, Rgb, codecs};
use std::io::Cursor;
use steropes_testkit::inputs::uniform;

const FORMAT: InputFormat = InputFormat { preset: 128, patch: 16, square_ok: false };

fn smooth(width: u32, height: u32) -> RgbImage {
    RgbImage::from_fn(width, height, |x, y| {
        let [u, v] = [f64::from(x) / f64::from(width), f64::from(y) / f64::from(height)];
        Rgb([(u * 255.0) as u8, (v * 255.0) as u8, ((u + v) * 127.0) as u8])
    })
}

fn noise(width: u32, height: u32) -> RgbImage {
    let values = uniform("tests.noise", (3 * width * height) as usize);
    let bytes = values.iter().map(|v| ((v * 0.5 + 0.5) * 256.0) as u8).collect();
    RgbImage::from_raw(width, height, bytes).unwrap()
}

fn encoded(image: &DynamicImage, format: ImageFormat) -> Vec<u8> {
    let mut out = Cursor::new(Vec::new());
    image.write_to(&mut out, format).unwrap();
    out.into_inner()
}

struct Folder(tempfile::TempDir);

impl Folder {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    fn file(&self, name: &str, bytes: &[u8]) -> PathBuf {
        let path = self.0.path().join(name);
        std::fs::write(&path, bytes).unwrap();
        path
    }
}

/// The one line that a file gives; it names the file.
fn error_line(path: &Path) -> String {
    let line = Photo::read(path, "photo", &FORMAT).expect_err("the file is bad").to_string();
    assert!(!line.contains('\n') && line.contains(path.file_name().unwrap().to_str().unwrap()), "{line}");
    line
}

/// An EXIF block with one orientation entry, little endian.
fn exif_with_orientation(value: u8) -> Vec<u8> {
    let mut block = b"II\x2a\0\x08\0\0\0\x01\0".to_vec();
    block.extend([0x12, 0x01, 3, 0, 1, 0, 0, 0, value, 0, 0, 0, 0, 0, 0, 0]);
    block
}

#[test]
fn every_container_carries_the_orientation() {
    let folder = Folder::new();
    let pixels = noise(24, 17);
    for value in 1..=8u8 {
        let exif = exif_with_orientation(value);
        let mut png = Vec::new();
        let mut encoder = codecs::png::PngEncoder::new(&mut png);
        encoder.set_exif_metadata(exif.clone()).unwrap();
        encoder.write_image(&pixels, 24, 17, ExtendedColorType::Rgb8).unwrap();
        let mut webp = Vec::new();
        let mut encoder = codecs::webp::WebPEncoder::new_lossless(&mut webp);
        encoder.set_exif_metadata(exif.clone()).unwrap();
        encoder.write_image(&pixels, 24, 17, ExtendedColorType::Rgb8).unwrap();
        let mut want = DynamicImage::ImageRgb8(pixels.clone());
        want.apply_orientation(Orientation::from_exif(value).unwrap());
        for (name, bytes) in [("photo.png", png), ("photo.webp", webp)] {
            let upright = read_upright(&folder.file(name, &bytes)).unwrap();
            assert_eq!(upright.orientation.to_exif(), value, "{name}");
            assert_eq!(upright.stored_size, [24, 17]);
            assert_eq!(upright.rgb, want.to_rgb8(), "{name} {value}");
        }
        let mut jpeg = Vec::new();
        let mut encoder = codecs::jpeg::JpegEncoder::new_with_quality(&mut jpeg, 95);
        encoder.set_exif_metadata(exif).unwrap();
        encoder.write_image(&smooth(24, 17), 24, 17, ExtendedColorType::Rgb8).unwrap();
        let upright = read_upright(&folder.file("photo.jpg", &jpeg)).unwrap();
        let mut want = DynamicImage::ImageRgb8(smooth(24, 17));
        want.apply_orientation(Orientation::from_exif(value).unwrap());
        let worst = upright.rgb.iter().zip(want.as_bytes()).map(|(a, b)| a.abs_diff(*b)).max().unwrap();
        assert!(worst < 16, "jpeg {value}: {worst}");
    }
}

#[test]
fn tiff_orientation_is_applied() {
    let folder = Folder::new();
    let pixels = noise(24, 17);
    let mut bytes = encoded(&DynamicImage::ImageRgb8(pixels.clone()), ImageFormat::Tiff);
    // The encoder writes no orientation: turn the entry of its resolution unit (tag 296, SHORT) into one.
    let unit = [0x28, 0x01, 3, 0, 1, 0, 0, 0];
    let at = bytes.windows(8).position(|w| w == unit).expect("a resolution unit");
    bytes[at..at + 2].copy_from_slice(&[0x12, 0x01]);
    bytes[at + 8] = 6;
    let upright = read_upright(&folder.file("photo.tif", &bytes)).unwrap();
    assert_eq!(upright.rgb, image::imageops::rotate90(&pixels));
}

#[test]
fn pixel_types_become_rgb() {
    let folder = Folder::new();
    let rgb = noise(20, 18);
    let read = |image: DynamicImage| {
        read_upright(&folder.file("photo.png", &encoded(&image, ImageFormat::Png))).unwrap().rgb
    };
    let grey = DynamicImage::ImageRgb8(rgb.clone()).to_luma8();
    let replicated = RgbImage::from_fn(20, 18, |x, y| Rgb([grey.get_pixel(x, y).0[0]; 3]));
    assert_eq!(read(DynamicImage::ImageLuma8(grey)), replicated);
    let mut rgba = DynamicImage::ImageRgb8(rgb.clone()).to_rgba8();
    rgba.pixels_mut().for_each(|p| p.0[3] = 3);
    assert_eq!(read(DynamicImage::ImageRgba8(rgba)), rgb, "alpha is dropped, not blended");
    let wide = image::ImageBuffer::from_fn(20, 18, |x, y| {
        Rgb(rgb.get_pixel(x, y).0.map(|v| u16::from(v) << 8 | 0xFF))
    });
    assert_eq!(read(DynamicImage::ImageRgb16(wide)), rgb, "16-bit colour keeps its high byte");
}

#[test]
fn bad_files_give_one_clear_line() {
    let folder = Folder::new();
    assert!(error_line(&folder.file("empty.jpg", b"")).contains("is empty (0 bytes)"));
    assert!(
        error_line(&folder.file("text.jpg", b"not a picture at all")).contains("JPEG, PNG, WebP or TIFF")
    );
    assert!(error_line(&folder.file("phone.jpg", b"\0\0\0\x18ftypheic\0\0\0\0")).contains("heif-convert"));
    assert!(error_line(&folder.0.path().join("missing.jpg")).contains("cannot be read"));
    let dot = DynamicImage::ImageRgb8(RgbImage::new(1, 1));
    let line = error_line(&folder.file("dot.png", &encoded(&dot, ImageFormat::Png)));
    assert!(line.contains("at least 16 x 16 pixels, it is 1 x 1"), "{line}");
}

#[test]
fn truncated_files_are_refused_in_every_format() {
    let folder = Folder::new();
    let image = DynamicImage::ImageRgb8(noise(64, 48));
    for (name, format) in [
        ("photo.jpg", ImageFormat::Jpeg),
        ("photo.png", ImageFormat::Png),
        ("photo.webp", ImageFormat::WebP),
        ("photo.tif", ImageFormat::Tiff),
    ] {
        let whole = encoded(&image, format);
        assert!(Photo::read(&folder.file(name, &whole), name, &FORMAT).is_ok(), "{name}");
        for share in [2, 10, 40, 70, 95] {
            let path = folder.file(name, &whole[..whole.len() * share / 100]);
            let error = Photo::read(&path, name, &FORMAT).expect_err("truncated");
            let expected = matches!(
                error,
                PhotoError::Truncated { .. } | PhotoError::Decode { .. } | PhotoError::Format { .. }
            );
            assert!(expected, "{name} {share} %: {error}");
        }
    }
}

/// A header alone, so nothing that large was ever allocated or decoded.
#[test]
fn a_huge_header_is_refused_by_its_size() {
    let folder = Folder::new();
    let side = 30_000u32.to_be_bytes();
    let mut header = b"IHDR".to_vec();
    header.extend([side, side].concat());
    header.extend([8, 2, 0, 0, 0]);
    let mut png = b"\x89PNG\r\n\x1a\n\0\0\0\x0d".to_vec();
    png.extend(&header);
    png.extend(crc32(&header).to_be_bytes());
    // The decoder reads up to the first pixel chunk before it knows the size.
    png.extend(b"\0\0\0\0IDAT\x35\xaf\x06\x1e");
    let line = error_line(&folder.file("huge.png", &png));
    assert!(line.contains("at most 200000000 pixels, its header says 30000 x 30000"), "{line}");
    let mut jpeg = encoded(&DynamicImage::ImageRgb8(noise(32, 32)), ImageFormat::Jpeg);
    let frame = jpeg.windows(2).position(|w| w == [0xFF, 0xC0]).unwrap();
    jpeg[frame + 5..frame + 9].copy_from_slice(&[0x75, 0x30, 0x75, 0x30]);
    let line = error_line(&folder.file("huge.jpg", &jpeg));
    assert!(line.contains("at most 200000000 pixels, its header says 30000 x 30000"), "{line}");
}

/// CRC-32 of PNG chunks, bit by bit.
fn crc32(bytes: &[u8]) -> u32 {
    let step = |crc: u32, _| if crc & 1 == 1 { (crc >> 1) ^ 0xEDB8_8320 } else { crc >> 1 };
    !bytes.iter().fold(!0u32, |crc, &b| (0..8).fold(crc ^ u32::from(b), step))
}

#[test]
fn the_network_image_is_the_middle_of_the_resized_photo() {
    let folder = Folder::new();
    let pixels = smooth(300, 211);
    let path = folder.file("photo.png", &encoded(&DynamicImage::ImageRgb8(pixels.clone()), ImageFormat::Png));
    let photo = Photo::read(&path, "photo.png", &FORMAT).unwrap();
    assert_eq!(photo.map.resized_size, [128, 90]);
    assert_eq!(photo.map.network_size, [128, 80]);
    assert_eq!(photo.network_input().len(), 3 * 128 * 80);
    // The gradient tells where a pixel came from: within a level or two of the photo at the mapped point.
    for (x, y) in [(5u32, 3u32), (64, 40), (120, 77)] {
        let [u, v] = photo.map.upright_from_network([f64::from(x), f64::from(y)]);
        let got = photo.network_rgb.get_pixel(x, y).0;
        assert!((f64::from(got[0]) - (u - 0.5) / 300.0 * 255.0).abs() < 1.6, "{got:?} at {u}");
        assert!((f64::from(got[1]) - (v - 0.5) / 211.0 * 255.0).abs() < 1.6, "{got:?} at {v}");
    }
}

#[test]
fn a_set_is_loaded_in_order_and_reports_every_bad_photo() {
    let folder = Folder::new();
    let picture = |w, h| encoded(&DynamicImage::ImageRgb8(noise(w, h)), ImageFormat::Png);
    let good = [folder.file("b ü.png", &picture(40, 30)), folder.file("a.png", &picture(30, 40))];
    let count = std::sync::atomic::AtomicUsize::new(0);
    let on_photo = || {
        count.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
    };
    let photos = load_photos(&good, &FORMAT, &on_photo).unwrap();
    assert_eq!(photos.iter().map(|p| p.name.as_str()).collect::<Vec<_>>(), ["b ü.png", "a.png"]);
    assert_eq!(photos[1].map.network_size, [96, 128]);
    assert_eq!(count.into_inner(), 2);
    let bad = [good[0].clone(), folder.file("c.png", b""), folder.file("d.png", b"x"), good[1].clone()];
    let errors = load_photos(&bad, &FORMAT, &|| ()).unwrap_err();
    let text = errors.to_string();
    assert_eq!(errors.0.len(), 2);
    assert!(text.lines().count() == 2 && text.contains("c.png") && text.contains("d.png"), "{text}");
}

#[test]
fn large_photos_are_decoded_in_small_batches() {
    assert_eq!(batch_len(&[[12_000, 9_000]; 4]), 1);
    assert_eq!(batch_len(&[[4_000, 3_000]; 64]), 16);
    assert_eq!(batch_len(&[[20_000, 20_000]]), 1);
}

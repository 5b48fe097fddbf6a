//! Video files that ffmpeg makes here, read back.
//!
//! Without ffmpeg these tests fail where `CI` is set, and say that they checked nothing elsewhere.

use image::RgbImage;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;
use steropes_video::{Ffmpeg, Frame, FrameSource, Latest, VideoError, VideoFile};
use tempfile::TempDir;

/// Whether ffmpeg is here.
#[expect(clippy::print_stderr, reason = "a test that checks nothing has to say so")]
fn has_ffmpeg() -> bool {
    let there = Command::new("ffmpeg").arg("-version").output().is_ok();
    assert!(there || std::env::var_os("CI").is_none(), "ffmpeg must be installed where CI runs");
    if !there {
        eprintln!("SKIPPED: ffmpeg is not installed, so nothing was checked");
    }
    there
}

/// Makes a file from the arguments of ffmpeg.
fn make(folder: &TempDir, name: &str, args: &[&str]) -> PathBuf {
    let path = folder.path().join(name);
    let output =
        Command::new("ffmpeg").args(["-loglevel", "error", "-y"]).args(args).arg(&path).output().unwrap();
    assert!(output.status.success(), "{name}: {}", String::from_utf8_lossy(&output.stderr));
    path
}

const PATTERN: [&str; 4] = ["-f", "lavfi", "-i", "testsrc2=size=96x64:rate=10:duration=1.2"];

fn open(path: &Path) -> VideoFile {
    VideoFile::open(path, &Ffmpeg::default()).unwrap()
}

fn frames(source: &mut dyn FrameSource) -> Vec<Frame> {
    std::iter::from_fn(|| source.next_frame().unwrap()).collect()
}

/// Mean difference of two pictures in grey levels.
fn difference(a: &RgbImage, b: &RgbImage) -> f64 {
    assert_eq!(a.dimensions(), b.dimensions());
    let sum: f64 = a.iter().zip(b.iter()).map(|(&a, &b)| f64::from(a.abs_diff(b))).sum();
    sum / a.len() as f64
}

#[test]
fn every_kind_of_file_gives_the_same_frames() {
    if !has_ffmpeg() {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let truth = frames(&mut open(&make(&folder, "truth.mkv", &[&PATTERN[..], &["-c:v", "ffv1"]].concat())));
    assert_eq!(truth.len(), 12);
    for (name, codec, args) in [
        ("a.mp4", "h264", ["-c:v", "libx264", "-crf", "5"]),
        ("a.mov", "h264", ["-c:v", "libx264", "-bf", "3"]),
        ("b.mkv", "hevc", ["-c:v", "libx265", "-crf", "5"]),
        ("c.webm", "vp9", ["-c:v", "libvpx-vp9", "-b:v", "2M"]),
        ("d.mp4", "av1", ["-c:v", "libaom-av1", "-cpu-used", "8"]),
        ("e.avi", "mpeg4", ["-c:v", "mpeg4", "-q:v", "1"]),
    ] {
        let mut file = open(&make(&folder, name, &[&PATTERN[..], &args].concat()));
        assert_eq!((file.info().codec.as_str(), file.info().size), (codec, [96, 64]), "{name}");
        assert!((file.info().frame_rate.unwrap() - 10.0).abs() < 0.01, "{name}");
        assert!(!file.is_live());
        let seen = frames(&mut file);
        assert_eq!(seen.len(), 12, "{name}");
        for (i, (frame, want)) in seen.iter().zip(&truth).enumerate() {
            assert_eq!(frame.index, i as u64);
            let off = (frame.time.as_secs_f64() - i as f64 / 10.0).abs();
            assert!(off < 6e-4, "{name}: frame {i} at {:?}", frame.time);
            let off = difference(&frame.image, &want.image);
            assert!(off < 12.0, "{name}: frame {i} is off by {off} levels");
        }
    }
}

/// Colours are right, not only alike: the bars of the pattern, as ffmpeg itself draws them in RGB.
#[test]
fn colours_are_those_of_the_picture() {
    if !has_ffmpeg() {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let red = [
        "-f",
        "lavfi",
        "-i",
        "color=c=0xC02010:size=64x64:rate=5:duration=0.4",
        "-c:v",
        "libx264",
        "-crf",
        "1",
    ];
    let seen = frames(&mut open(&make(&folder, "red.mp4", &red)));
    let pixel = seen[1].image.get_pixel(30, 30).0;
    let off = pixel.iter().zip([0xC0u8, 0x20, 0x10]).map(|(a, b)| a.abs_diff(b)).max().unwrap();
    assert!(off <= 3, "{pixel:?}");
}

#[test]
fn times_are_those_of_the_file_when_the_rate_varies() {
    if !has_ffmpeg() {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    // Frame n is shown at n * n / 40 seconds, and the first one half a second after the start of the file.
    let args = [
        &PATTERN[..],
        &["-vf", "settb=1/1000,setpts=(N*N/40+0.5)/TB", "-fps_mode", "vfr", "-enc_time_base", "1/1000"],
    ]
    .concat();
    for (name, codec) in [("vary.mp4", "libx264"), ("vary.mkv", "libx264")] {
        let seen = frames(&mut open(&make(&folder, name, &[&args[..], &["-c:v", codec]].concat())));
        assert_eq!(seen.len(), 12, "{name}");
        for (n, frame) in seen.iter().enumerate() {
            let want = (n * n) as f64 / 40.0;
            assert!(
                (frame.time.as_secs_f64() - want).abs() < 1.1e-3,
                "{name}: frame {n} at {:?}",
                frame.time
            );
        }
    }
}

#[test]
fn turned_videos_come_upright() {
    if !has_ffmpeg() {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let plain = make(
        &folder,
        "plain.mp4",
        &[&PATTERN[..], &["-c:v", "libx264", "-crf", "1", "-pix_fmt", "yuv444p"]].concat(),
    );
    let upright = frames(&mut open(&plain));
    let source = plain.to_str().unwrap();
    // The tag says how far the stored picture has to be turned anticlockwise.
    let turned = make(&folder, "turned.mp4", &["-i", source, "-c", "copy", "-metadata:s:v:0", "rotate=270"]);
    let mut file = open(&turned);
    let seen = frames(&mut file);
    let (info, image) = (file.info(), &seen[0].image);
    assert_eq!((info.rotation % 180, info.size, image.dimensions()), (90, [64, 96], (64, 96)));
    let want = if info.rotation == 90 {
        image::imageops::rotate90(&upright[0].image)
    } else {
        image::imageops::rotate270(&upright[0].image)
    };
    let off = difference(image, &want);
    assert!(off < 1.0, "off by {off} levels");
}

#[test]
fn a_file_that_is_cut_off_is_an_error_after_its_last_frame() {
    if !has_ffmpeg() {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let long = ["-f", "lavfi", "-i", "testsrc2=size=96x64:rate=10:duration=6", "-c:v", "libx264", "-g", "10"];
    for (name, more) in [("fast.mp4", ["-movflags", "+faststart"]), ("whole.mkv", ["-bf", "0"])] {
        let whole = make(&folder, name, &[&long[..], &more].concat());
        assert_eq!(frames(&mut open(&whole)).len(), 60);
        let bytes = std::fs::read(&whole).unwrap();
        std::fs::write(&whole, &bytes[..bytes.len() * 6 / 10]).unwrap();
        let mut file = open(&whole);
        let mut count = 0;
        let error = loop {
            match file.next_frame() {
                Ok(Some(_)) => count += 1,
                Ok(None) => panic!("{name}: the end of a part passed for that of the whole"),
                Err(error) => break error,
            }
        };
        assert!((10..50).contains(&count), "{name}: {count} frames");
        assert!(matches!(error, VideoError::Damaged { frames, .. } if frames == count), "{name}: {error}");
        assert!(error.to_string().contains(name) && !error.to_string().contains('\n'), "{error}");
        assert!(file.next_frame().unwrap().is_none(), "it gives nothing more");
    }
}

#[test]
fn what_is_no_video_is_one_line() {
    if !has_ffmpeg() {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let line = |path: &Path| {
        let line = VideoFile::open(path, &Ffmpeg::default()).err().unwrap().to_string();
        assert!(!line.contains('\n'), "{line}");
        line
    };
    let text = folder.path().join("text.mp4");
    std::fs::write(&text, "this is no video at all, but it is long enough to be looked at").unwrap();
    assert!(line(&text).contains("text.mp4"), "{}", line(&text));
    let no_index = make(&folder, "index.mp4", &[&PATTERN[..], &["-c:v", "libx264"]].concat());
    let bytes = std::fs::read(&no_index).unwrap();
    std::fs::write(&no_index, &bytes[..bytes.len() / 2]).unwrap();
    assert!(line(&no_index).contains("moov atom not found"), "{}", line(&no_index));
    let sound = make(&folder, "sound.mp4", &["-f", "lavfi", "-i", "sine=duration=0.3"]);
    assert!(line(&sound).contains("holds no video"), "{}", line(&sound));
    assert!(line(&folder.path().join("missing.mp4")).contains("missing.mp4"));
}

#[test]
fn names_that_look_like_options_or_addresses_are_files() {
    if !has_ffmpeg() {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let plain = make(&folder, "plain.mkv", &[&PATTERN[..], &["-c:v", "libx264"]].concat());
    for name in ["concat:a.mkv", "a%03d.mkv", "ü ' \" $.mkv"] {
        let path = folder.path().join(name);
        std::fs::copy(&plain, &path).unwrap();
        assert_eq!(frames(&mut open(&path)).len(), 12, "{name}");
    }
}

#[test]
fn without_ffmpeg_one_line_says_what_to_do() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("a.mp4");
    std::fs::write(&file, "anything").unwrap();
    let none = Ffmpeg::new(Some(folder.path().to_owned()));
    let error = VideoFile::open(&file, &none).err().unwrap();
    assert!(matches!(error, VideoError::NoFfmpeg { .. }), "{error}");
    let line = error.to_string();
    assert!(line.contains("install ffmpeg") && line.contains("--ffmpeg") && !line.contains('\n'), "{line}");
}

/// A file that nobody reads to its end leaves no process behind.
#[cfg(target_os = "linux")]
#[test]
fn a_dropped_file_ends_its_process() {
    if !has_ffmpeg() {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let long = [
        "-f",
        "lavfi",
        "-i",
        "testsrc2=size=320x240:rate=30:duration=20",
        "-c:v",
        "libx264",
        "-preset",
        "ultrafast",
    ];
    let path = make(&folder, "long.mp4", &long);
    let running = || {
        let mut found = 0;
        for entry in std::fs::read_dir("/proc").unwrap().filter_map(Result::ok) {
            let command = std::fs::read(entry.path().join("cmdline")).unwrap_or_default();
            found += usize::from(String::from_utf8_lossy(&command).contains(path.to_str().unwrap()));
        }
        found
    };
    let mut file = open(&path);
    assert!(file.next_frame().unwrap().is_some());
    assert_eq!(running(), 1);
    drop(file);
    assert_eq!(running(), 0);
    // Nor does one that a mailbox reads, whose thread waits for a reader.
    let latest = Latest::new(Box::new(open(&path)));
    assert!(latest.wait(Duration::from_secs(20)).unwrap().is_some());
    drop(latest);
    assert_eq!(running(), 0);
    let mut file = open(&path);
    assert!(file.next_frame().unwrap().is_some());
    file.stopper().unwrap().stop();
    while file.next_frame().unwrap().is_some() {}
    assert_eq!(running(), 0, "stopped, it ends like a video");
}

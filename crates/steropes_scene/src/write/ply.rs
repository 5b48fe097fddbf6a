//! Point clouds as PLY.

use super::{SceneCloud, WriteError, write_file};
use std::path::Path;

/// Writes a binary little-endian PLY file: x y z (float), nx ny nz (float, if there are normals), red green blue
/// (uchar).
///
/// # Errors
/// [`WriteError::Scene`] for an empty or inconsistent cloud, [`WriteError::Io`].
///
/// # Source
/// Greg Turk, "The PLY Polygon File Format".
pub fn write_ply(path: &Path, cloud: &SceneCloud) -> Result<(), WriteError> {
    cloud.check(path)?;
    write_file(path, |out| {
        write!(out, "ply\nformat binary_little_endian 1.0\nelement vertex {}\n", cloud.points.len())?;
        let normal_names: &[&str] = if cloud.normals.is_some() { &["nx", "ny", "nz"] } else { &[] };
        for name in ["x", "y", "z"].iter().chain(normal_names) {
            writeln!(out, "property float {name}")?;
        }
        for name in ["red", "green", "blue"] {
            writeln!(out, "property uchar {name}")?;
        }
        writeln!(out, "end_header")?;
        for (i, (point, color)) in cloud.points.iter().zip(&cloud.colors).enumerate() {
            out.write_all(point.map(f32::to_le_bytes).as_flattened())?;
            if let Some(normals) = &cloud.normals {
                out.write_all(normals[i].map(f32::to_le_bytes).as_flattened())?;
            }
            out.write_all(color)?;
        }
        Ok(())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Reads what the header promises, without the writer's knowledge of the order.
    fn read(path: &Path) -> (Vec<String>, Vec<Vec<f64>>) {
        let bytes = std::fs::read(path).unwrap();
        let end = bytes.windows(11).position(|w| w == b"end_header\n").unwrap() + 11;
        let header = std::str::from_utf8(&bytes[..end]).unwrap();
        assert!(header.starts_with("ply\nformat binary_little_endian 1.0\n"));
        let mut count = 0;
        let mut properties = Vec::new();
        for line in header.lines() {
            match line.split(' ').collect::<Vec<_>>()[..] {
                ["element", "vertex", n] => count = n.parse().unwrap(),
                ["property", kind, name] => properties.push((kind.to_owned(), name.to_owned())),
                _ => {}
            }
        }
        let mut rest = &bytes[end..];
        let mut take = |n: usize| {
            let (head, tail) = rest.split_at(n);
            rest = tail;
            head
        };
        let rows = (0..count)
            .map(|_| {
                let value = |(kind, _): &(String, String)| match kind.as_str() {
                    "float" => f64::from(f32::from_le_bytes(take(4).try_into().unwrap())),
                    _ => f64::from(take(1)[0]),
                };
                properties.iter().map(value).collect()
            })
            .collect();
        assert!(rest.is_empty(), "{} bytes too many", rest.len());
        (properties.into_iter().map(|(_, name)| name).collect(), rows)
    }

    #[test]
    fn points_come_back() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("scene.ply");
        let mut cloud = SceneCloud {
            points: vec![[1.5, -2.0, 3.0], [0.1, 0.2, 0.3]],
            colors: vec![[1, 2, 255], [4, 5, 6]],
            normals: None,
        };
        write_ply(&path, &cloud).unwrap();
        let (names, rows) = read(&path);
        assert_eq!(names, ["x", "y", "z", "red", "green", "blue"]);
        assert_eq!(rows[0], [1.5, -2.0, 3.0, 1.0, 2.0, 255.0]);
        cloud.normals = Some(vec![[0.0, 0.0, 1.0], [0.0, 1.0, 0.0]]);
        write_ply(&path, &cloud).unwrap();
        let (names, rows) = read(&path);
        assert_eq!(names, ["x", "y", "z", "nx", "ny", "nz", "red", "green", "blue"]);
        assert_eq!(rows[1][3..], [0.0, 1.0, 0.0, 4.0, 5.0, 6.0]);
        assert_eq!(rows[1][0], f64::from(0.1f32));
    }

    #[test]
    fn a_cloud_that_cannot_be_stored_is_an_error_that_names_the_file() {
        let path = Path::new("scene.ply");
        let line = |cloud: &SceneCloud, path: &Path| write_ply(path, cloud).unwrap_err().to_string();
        let mut cloud = SceneCloud::default();
        assert_eq!(line(&cloud, path), "`scene.ply`: `points` must be at least one point, got none");
        cloud.points.push([0.0, f32::NAN, 0.0]);
        assert!(line(&cloud, path).contains("`colors` must be as many as `points`, got 0"));
        cloud.colors.push([0; 3]);
        assert!(line(&cloud, path).contains("must be finite"));
        cloud.points[0][1] = 0.0;
        let missing = tempfile::tempdir().unwrap().path().join("missing/scene.ply");
        assert!(line(&cloud, &missing).contains("missing/scene.ply` cannot be written"));
    }
}

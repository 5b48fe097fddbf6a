//! A small room made from formulas: textured walls and floor, a ball, and cameras that walk along one wall.

use super::{Observation, SceneCloud, ScenePhoto, Track};
use crate::photo::Pinhole;
use image::{Rgb, RgbImage};
use nalgebra::{Isometry3, Point3, Vector3};

/// A scene with everything that the writers take. The last photo is not registered.
pub(super) struct TestScene {
    pub(super) cloud: SceneCloud,
    pub(super) photos: Vec<ScenePhoto>,
    pub(super) tracks: Vec<Track>,
}

/// World axes as of the first camera's neighbourhood: x right, y down, z into the room; the floor is at y = 1.2.
pub(super) fn room() -> TestScene {
    let cloud = room_cloud();
    let photos: Vec<_> = (0..8).map(|i| photo(i, i < 7)).collect();
    let tracks = cloud.points.iter().zip(&cloud.colors).step_by(701);
    let tracks =
        tracks.map(|(p, c)| track(p.map(f64::from), *c, &photos)).filter(|t| t.observations.len() > 1);
    let tracks = tracks.collect();
    TestScene { cloud, photos, tracks }
}

fn room_cloud() -> SceneCloud {
    let mut cloud = SceneCloud { normals: Some(Vec::new()), ..SceneCloud::default() };
    let mut add = |point: [f64; 3], normal: [f64; 3], color: [f64; 3]| {
        cloud.points.push(point.map(|v| v as f32));
        cloud.normals.as_mut().expect("made above").push(normal.map(|v| v as f32));
        cloud.colors.push(color.map(|v| (v * 255.0).clamp(0.0, 255.0) as u8));
    };
    for i in 0..220 {
        for j in 0..120 {
            let [u, v] = [f64::from(i) / 220.0, f64::from(j) / 120.0];
            let tile = if (u * 11.0) as i32 % 2 == (v * 6.0) as i32 % 2 { 0.8 } else { 0.35 };
            let wave = 0.5 + 0.4 * (u * 40.0).sin() * (v * 25.0).cos();
            add([u * 6.0 - 2.0, 1.2, v * 4.0 + 1.0], [0.0, -1.0, 0.0], [tile, tile * 0.8, tile * 0.6]);
            add([u * 6.0 - 2.0, v * 2.6 - 1.4, 5.0], [0.0, 0.0, -1.0], [wave, 0.45, 0.75 - 0.3 * wave]);
            add([-2.0, v * 2.6 - 1.4, u * 4.0 + 1.0], [1.0, 0.0, 0.0], [0.4, 0.5 + 0.3 * wave, 0.4]);
            let (longitude, height) = (u * std::f64::consts::TAU, 2.0 * v - 1.0);
            let ring = (1.0 - height * height).sqrt();
            let normal = [ring * longitude.cos(), height, ring * longitude.sin()];
            let ball = [1.0 + 0.5 * normal[0], 0.7 + 0.5 * normal[1], 3.2 + 0.5 * normal[2]];
            add(ball, normal, [0.9, 0.3 + 0.3 * wave, 0.2]);
        }
    }
    // A few wild points, as every real cloud has them.
    for k in 0..60 {
        let angle = f64::from(k) * 2.4;
        let [x, z] = [60.0 * angle.cos(), 60.0 * angle.sin()];
        add([x, f64::from(k) - 30.0, z], [0.0, 0.0, 1.0], [1.0, 0.0, 1.0]);
    }
    cloud
}

fn photo(index: u32, registered: bool) -> ScenePhoto {
    let size = if index % 4 == 3 { [480, 640] } else { [640, 480] };
    let step = f64::from(index);
    let pose = Isometry3::new(
        Vector3::new(0.35 * step - 0.4, -0.1 * (step * 0.8).sin(), 0.15 * step),
        Vector3::new(0.1, 0.25 - 0.12 * step, 0.02 * step),
    );
    let thumbnail = RgbImage::from_fn(size[0] / 5, size[1] / 5, |x, y| {
        let edge = x < 4 || y < 4;
        Rgb(if edge { [250, 250, 80] } else { [(x * 2) as u8, (y * 2) as u8, (index * 30) as u8] })
    });
    ScenePhoto {
        name: format!("photo {index} ü.jpg"),
        size,
        pinhole: Pinhole { focal_px: [520.0; 2], center_px: size.map(|side| f64::from(side) / 2.0) },
        radial: 0.0,
        world_from_camera: registered.then_some(pose),
        thumbnail,
    }
}

fn track(point_in_world: [f64; 3], color: [u8; 3], photos: &[ScenePhoto]) -> Track {
    let observation = |(photo, scene_photo): (usize, &ScenePhoto)| {
        let p = scene_photo.world_from_camera?.inverse_transform_point(&Point3::from(point_in_world));
        let Pinhole { focal_px: [fx, fy], center_px: [cx, cy] } = scene_photo.pinhole;
        let point_px = [fx * p.x / p.z + cx, fy * p.y / p.z + cy];
        let [w, h] = scene_photo.size.map(f64::from);
        let visible = p.z > 0.1 && (0.0..w).contains(&point_px[0]) && (0.0..h).contains(&point_px[1]);
        visible.then_some(Observation { photo, point_px })
    };
    let observations = photos.iter().enumerate().filter_map(observation).collect();
    Track { point_in_world, color, reprojection_error_px: 0.25, observations }
}

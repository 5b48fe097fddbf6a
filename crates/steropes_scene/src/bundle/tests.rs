//! Tests of the whole, on synthetic scenes.

use super::synthetic::Scene;
use super::*;

fn refined(scene: &Scene, start: &[crate::Camera], window: usize, noise_px: f64, wrong: f64) -> Bundle {
    let pairs = scene.matches(window, noise_px, wrong, 5);
    let now = std::time::Instant::now();
    let tracks = build_tracks(scene.cameras.len(), &pairs, &TrackOptions::default()).unwrap();
    let built = now.elapsed();
    let count = scene.cameras.len();
    let bundle = refine(
        &BundleInput {
            cameras: start,
            intrinsics_group: &vec![0; count],
            focal_priors: &vec![None; count],
            tracks: &tracks,
            relative_rotations: &[],
        },
        &RefineOptions::default(),
    )
    .unwrap();
    println!("{:?} tracks {built:?} refine {:?} rounds {} it {} noise {:.3} start {:?} end {:?} centre {:.4} focal {:.2} of {:.2}",
        tracks.statistics(), now.elapsed() - built, bundle.rounds, bundle.iterations, bundle.noise_px,
        scene.rotation_errors(start), scene.rotation_errors(&bundle.cameras), scene.center_error(&bundle.cameras),
        bundle.cameras[0].intrinsics.focal_px, scene.cameras[0].intrinsics.focal_px);
    bundle
}

#[test]
fn scenes_converge_from_ten_degrees() {
    for (name, scene, window) in [
        ("orbit", Scene::orbit(12), 3), ("facade", Scene::facade(8), 3), ("room", Scene::room(12), 3), ("strip", Scene::strip(6), 3),
    ] {
        for seed in 0..3 {
            println!("{name} {seed}");
            let start = if seed == 0 { scene.perturbed(0.5,0.02,0.01,1) } else {scene.perturbed(10.0, 0.2, 0.1, seed)};
            refined(&scene, &start, window, 0.7, if seed == 2 {0.0} else {0.25});
        }
    }
}

use super::{Database, Metric, Search, nearest_neighbors, nearest_neighbors_by};
use steropes_tensor::{Device, Tensor};
use steropes_testkit::{Bench, Needs, bench, inputs};

const DEPTH: usize = 24;

/// Seeds of a photo (every 8th pixel both ways) against all pixels of another, at the sizes 384x288 and 512x384; on a GPU
/// also all pixels against all.
pub(crate) fn benches() -> Vec<Bench> {
    let seeds = [
        seeds("nearest_neighbors/384x288", [384, 288], Search::Auto),
        seeds("nearest_neighbors/384x288_exact", [384, 288], Search::Exact),
        seeds("nearest_neighbors/512x384", [512, 384], Search::Auto),
        seeds("nearest_neighbors/512x384_exact", [512, 384], Search::Exact),
    ];
    seeds.into_iter().chain([all("nearest_neighbors/196608x24")]).collect()
}

/// Random unit descriptors, 196608 (512 x 384) against as many. Two operations for each value of each pair.
fn all(name: &'static str) -> Bench {
    let count = 512 * 384;
    let flops = 2.0 * (count * count * DEPTH) as f64;
    let bytes = 4.0 * (2 * count * DEPTH + count) as f64;
    let prepare = move |device: &Device| -> steropes_testkit::Launch {
        let unit = |name: &str| {
            let mut values = inputs::normal(name, count * DEPTH);
            for row in values.chunks_exact_mut(DEPTH) {
                let norm = row.iter().map(|v| v * v).sum::<f32>().sqrt();
                row.iter_mut().for_each(|v| *v /= norm);
            }
            on(device, &[count, DEPTH], values)
        };
        let database =
            Database::new(&unit("nearest_neighbors/rows"), Metric::Dot).expect("rows of 24 values");
        let queries = unit("nearest_neighbors/queries");
        Box::new(move || {
            std::hint::black_box(nearest_neighbors(&queries, &database).expect("checked shapes"));
        })
    };
    Bench { needs: Needs::Gpu, ..bench(name, flops, bytes, prepare) }
}

fn seeds(name: &'static str, [width, height]: [usize; 2], search: Search) -> Bench {
    let (rows, queries) = (width * height, width * height / 64);
    let flops = 2.0 * (rows * queries * DEPTH) as f64;
    let bytes = 4.0 * ((rows + queries) * DEPTH + queries) as f64;
    bench(name, flops, bytes, move |device| {
        let map = |shift| smooth_descriptors(width, height, shift);
        let database = Tensor::new(device, &[rows, DEPTH], map(0.0)).expect("the map fills its shape");
        let database = Database::new(&database, Metric::Dot).expect("rows of 24 values");
        let other = map(5.3);
        let picked = (0..queries)
            .flat_map(|i| {
                let (x, y) = (i % (width / 8) * 8 + 4, i / (width / 8) * 8 + 4);
                let at = (y * width + x) * DEPTH;
                other[at..at + DEPTH].to_vec()
            })
            .collect();
        let queries = on(device, &[queries, DEPTH], picked);
        Box::new(move || {
            std::hint::black_box(nearest_neighbors_by(&queries, &database, search).expect("checked shapes"));
        })
    })
}

fn on(device: &Device, shape: &[usize], data: Vec<f32>) -> Tensor {
    Tensor::new(device, shape, data).expect("the data fills the shape")
}

/// Unit descriptors that vary smoothly over an image, like those of a trained network: per channel the sum of
/// six random waves with periods of 26 pixels and more; the image is moved by `shift` pixels.
pub(super) fn smooth_descriptors(width: usize, height: usize, shift: f32) -> Vec<f32> {
    const WAVES: usize = 6;
    let random = inputs::uniform("nearest_neighbors/waves", DEPTH * WAVES * 4);
    let noise = inputs::uniform(&format!("nearest_neighbors/noise{shift}"), width * height * DEPTH);
    let mut map = vec![0.0; width * height * DEPTH];
    for (pixel, descriptor) in map.chunks_exact_mut(DEPTH).enumerate() {
        let (x, y) = ((pixel % width) as f32 + shift, (pixel / width) as f32 - 0.37 * shift);
        for (channel, value) in descriptor.iter_mut().enumerate() {
            for wave in random[channel * WAVES * 4..][..WAVES * 4].chunks_exact(4) {
                let phase = 0.17 * (wave[0] * x + wave[1] * y) + std::f32::consts::PI * wave[2];
                *value += wave[3] * phase.sin();
            }
            *value += 0.02 * noise[pixel * DEPTH + channel];
        }
        let norm = descriptor.iter().map(|v| v * v).sum::<f32>().sqrt();
        descriptor.iter_mut().for_each(|v| *v /= norm);
    }
    map
}

// One invocation for each pixel of one map. BLOCK candidates at a time stay in registers while all maps are visited, so that a
// map's matrix is read and turned into the ray's direction once for all of them.
//
// Header: THREADS, BLOCK, SAME, maps.wgsl, number().

struct Params {
    first_view: u32, views: u32, start: u32, width: u32, first: u32, count: u32, samples: u32, seed: u32, threshold: f32,
}
var<immediate> params: Params;
@group(0) @binding(3) var<storage, read_write> refined: array<f32>;

@compute @workgroup_size(THREADS)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) thread: u32) {
    let i = (group.x + group.y * 32768u) * THREADS + thread;
    if (i >= params.count) {
        return;
    }
    let pixel = params.first + i;
    let at = params.start + pixel;
    let old = depth[at];
    var best = old;
    if (is_positive(old)) {
        let ray = vec3<f32>(f32(pixel % params.width), f32(pixel / params.width), 1.0);
        var smallest = 0.0;
        var found = false;
        var informative = false;
        for (var base = 0u; base < params.samples; base += BLOCK) {
            var candidates: array<f32, BLOCK>;
            var averages: array<Average, BLOCK>;
            for (var s = 0u; s < BLOCK; s++) {
                averages[s] = Average();
                candidates[s] = 0.0;
                if (base + s < params.samples) {
                    let z = number(at, base + s, params.samples, params.seed);
                    candidates[s] = old + (z - 1.0) * params.threshold;
                }
            }
            for (var k = 0u; k < params.views; k++) {
                let view = views[params.first_view + k];
                let start = vec3<f32>(view.u.w, view.v.w, view.z.w);
                let step = vec3<f32>(dot(view.u.xyz, ray), dot(view.v.xyz, ray), dot(view.z.xyz, ray));
                for (var s = 0u; s < BLOCK; s++) {
                    if (is_positive(candidates[s])) {
                        var average = averages[s];
                        add_distance(&average, view.size, start + candidates[s] * step, params.threshold);
                        averages[s] = average;
                    }
                }
            }
            for (var s = 0u; s < BLOCK; s++) {
                if (averages[s].weights > 0.0) {
                    let value = abs(averages[s].weighted / averages[s].weights);
                    informative = informative || abs(value - params.threshold) > SAME * params.threshold;
                    if (!found || value < smallest) {
                        smallest = value;
                        best = candidates[s];
                        found = true;
                    }
                }
            }
        }
        best = select(old, best, informative);
    }
    refined[at] = best;
}

// One invocation for each pixel of one map. BLOCK candidates at a time stay in registers while all maps of the launch are visited, so that
// a map's matrix is read and turned into the ray's direction once for all of them.
//
// Where a launch does not visit all maps, the averages of its candidates wait in `averages` for the next one, and the best candidate so far
// in `refined` and `choices`.
//
// Header: THREADS, BLOCK, SAME, maps.wgsl, number().

struct Params {
    views: u32, start: u32, width: u32, first: u32, count: u32, samples: u32, first_sample: u32, last_sample: u32,
    is_first: u32, is_last: u32, views_shift: u32, depth_shift: u32, numbers_shift: u32, seed: u32, threshold: f32,
}
var<immediate> params: Params;
@group(0) @binding(3) var<storage, read> old_depth: array<f32>;
@group(0) @binding(4) var<storage, read_write> refined: array<f32>;
@group(0) @binding(5) var<storage, read_write> averages: array<Average>;
@group(0) @binding(6) var<storage, read_write> choices: array<Choice>;

// The smallest absolute value so far, whether there is one, and whether one of them differs from the threshold.
struct Choice { smallest: f32, found: u32, informative: u32 }

@compute @workgroup_size(THREADS)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) thread: u32) {
    let i = (group.x + group.y * 32768u) * THREADS + thread;
    if (i >= params.count) {
        return;
    }
    let pixel = params.first + i;
    let place = params.depth_shift + i;
    let old = old_depth[place];
    var best = old;
    var choice = Choice();
    if (params.first_sample > 0u) {
        best = refined[place];
        choice = choices[i];
    }
    if (is_positive(old)) {
        let ray = vec3<f32>(f32(pixel % params.width), f32(pixel / params.width), 1.0);
        let waiting = i * (params.last_sample - params.first_sample);
        for (var base = params.first_sample; base < params.last_sample; base += BLOCK) {
            var candidates: array<f32, BLOCK>;
            var block: array<Average, BLOCK>;
            for (var s = 0u; s < BLOCK; s++) {
                block[s] = Average();
                candidates[s] = 0.0;
                if (base + s < params.last_sample) {
                    let z = number(i, base + s);
                    candidates[s] = old + (z - 1.0) * params.threshold;
                    if (params.is_first == 0u) {
                        block[s] = averages[waiting + base + s - params.first_sample];
                    }
                }
            }
            for (var k = 0u; k < params.views; k++) {
                let view = views[params.views_shift + k];
                let start = vec3<f32>(view.u.w, view.v.w, view.z.w);
                let step = vec3<f32>(dot(view.u.xyz, ray), dot(view.v.xyz, ray), dot(view.z.xyz, ray));
                for (var s = 0u; s < BLOCK; s++) {
                    if (is_positive(candidates[s])) {
                        var average = block[s];
                        add_distance(&average, view.size, start + candidates[s] * step, params.threshold);
                        block[s] = average;
                    }
                }
            }
            for (var s = 0u; s < BLOCK; s++) {
                if (params.is_last == 0u) {
                    if (base + s < params.last_sample) {
                        averages[waiting + base + s - params.first_sample] = block[s];
                    }
                } else if (block[s].weights > 0.0) {
                    let value = abs(block[s].weighted / block[s].weights);
                    if (abs(value - params.threshold) > SAME * params.threshold) {
                        choice.informative = 1u;
                    }
                    if (choice.found == 0u || value < choice.smallest) {
                        choice.smallest = value;
                        best = candidates[s];
                        choice.found = 1u;
                    }
                }
            }
        }
    }
    if (params.is_last == 0u) {
        return;
    }
    if (params.last_sample == params.samples) {
        best = select(old, best, choice.informative == 1u);
    } else {
        choices[i] = choice;
    }
    refined[place] = best;
}

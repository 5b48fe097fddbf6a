// One invocation for each pixel of one image, which visits all other images.
//
// Header: THREADS.

// From the image's points to the camera of another; focal length and principal point; width, height, first pixel.
struct Camera { x: vec4<f32>, y: vec4<f32>, z: vec4<f32>, lens: vec4<f32>, size: vec4<u32> }
// `start` is the first pixel of the image among those of all, `first` the first pixel of this launch among those of the image.
struct Params { image: u32, images: u32, start: u32, first: u32, count: u32, share: f32, bad: f32 }
var<immediate> params: Params;
@group(0) @binding(0) var<storage, read> cameras: array<Camera>;
@group(0) @binding(1) var<storage, read> points: array<f32>;
@group(0) @binding(2) var<storage, read> depth: array<f32>;
@group(0) @binding(3) var<storage, read_write> confidence: array<f32>;

// By bits, because fast mathematics may take comparisons with NaN for true.
fn is_number(x: f32) -> bool {
    return (bitcast<u32>(x) & 0x7fffffffu) <= 0x7f800000u;
}

fn is_finite(x: f32) -> bool {
    return (bitcast<u32>(x) & 0x7f800000u) != 0x7f800000u;
}

// Whether the camera sees a surer surface behind the point.
fn hides(camera: Camera, p: vec4<f32>, own: f32) -> bool {
    let z = dot(camera.z, p);
    if (!is_finite(z) || !(z > 0.0)) {
        return false;
    }
    let pixel = round(camera.lens.x * vec2<f32>(dot(camera.x, p), dot(camera.y, p)) / z + camera.lens.yz);
    let last = vec2<f32>(camera.size.xy) - 1.0;
    let inside = pixel.x >= 0.0 && pixel.y >= 0.0 && pixel.x <= last.x && pixel.y <= last.y;
    if (!is_finite(pixel.x) || !is_finite(pixel.y) || !inside) {
        return false;
    }
    let place = vec2<u32>(pixel);
    let at = camera.size.z + place.y * camera.size.x + place.x;
    let surface = depth[at];
    let sure = confidence[at];
    return is_number(surface) && z < params.share * surface && is_number(sure) && own < sure;
}

@compute @workgroup_size(THREADS)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) thread: u32) {
    let i = (group.x + group.y * 32768u) * THREADS + thread;
    if (i >= params.count) {
        return;
    }
    let pixel = params.first + i;
    let own = confidence[params.start + pixel];
    let p = vec4<f32>(points[3u * pixel], points[3u * pixel + 1u], points[3u * pixel + 2u], 1.0);
    var hidden = false;
    for (var j = 0u; j < params.images; j++) {
        if (j != params.image && !hidden) {
            hidden = hides(cameras[j], p, own);
        }
    }
    if (hidden && is_number(own)) {
        confidence[params.start + pixel] = min(own, params.bad);
    }
}

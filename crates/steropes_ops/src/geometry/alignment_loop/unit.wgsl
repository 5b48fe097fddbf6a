// A unit of work is at most CHUNK matches of one edge (a pair of images seen one way), evaluated by one workgroup in the camera
// frame of the edge's frame. Every invocation takes PER_THREAD matches; its SUMS sums meet in workgroup memory in a fixed
// order: PARTS invocations per sum, then one.

struct Params { units: u32, share: f32 }
var<immediate> params: Params;
@group(0) @binding(0) var<storage, read> units: array<vec4<u32>>;
// x, y, depth relative to the anchor, anchor.
@group(0) @binding(1) var<storage, read> own: array<vec4<u32>>;
@group(0) @binding(2) var<storage, read> views: array<f32>;
@group(0) @binding(3) var<storage, read> depths: array<f32>;
@group(0) @binding(4) var<storage, read_write> sums: array<f32>;

struct Unit {
    owner: u32,
    frame: u32,
    first: u32,
    count: u32,
    segments: u32,
    segment_base: u32,
    row: u32,
    extra: u32,
}

struct Relative { rotation: mat3x3<f32>, center: vec3<f32> }

// The number of the workgroup's unit; behind the last one, workgroups do the last one's work and write nothing.
fn unit_index(group: vec3<u32>) -> u32 {
    return group.x + group.y * 32768u;
}

fn unit_at(index: u32) -> Unit {
    let last = min(index, params.units - 1u);
    let a = units[2u * last];
    let b = units[2u * last + 1u];
    return Unit(a.x, a.y, a.z, a.w, b.x, b.y, b.z, b.w);
}

// The owner's camera seen from the frame's.
fn relative(unit: Unit) -> Relative {
    let back = transpose(rotation_of(unit.frame));
    return Relative(back * rotation_of(unit.owner), back * (center_of(unit.owner) - center_of(unit.frame)));
}

// What makes a camera-frame point of a pixel and its anchor's depth.
struct Lens { principal: vec2<f32>, inverse_focal: f32, relief: f32, zero: f32, median: f32 }

// Of a camera and its cloud at this scale.
fn lens_of(view: u32, scale: f32) -> Lens {
    let principal = vec2<f32>(of_view(view, PRINCIPAL), of_view(view, PRINCIPAL + 1u));
    let zero = scale * of_view(view, ZERO);
    return Lens(principal, 1.0 / of_view(view, FOCAL), of_view(view, RELIEF), zero, scale * of_view(view, MEDIAN));
}

fn ray(lens: Lens, pixel: vec2<f32>) -> vec3<f32> {
    return vec3<f32>((pixel - lens.principal) * lens.inverse_focal, 1.0);
}

var<workgroup> scratch: array<f32, SUMS * PITCH>;
var<workgroup> part_sums: array<f32, SUMS * PARTS>;

// Writes the sums over the workgroup of what every invocation put at `scratch[v * PITCH + thread]`.
fn write_sums(thread: u32, row: u32, inside: bool) {
    workgroupBarrier();
    if (thread < SUMS * PARTS) {
        let start = thread / PARTS * PITCH + thread % PARTS;
        var sum = 0.0;
        for (var j = 0u; j < THREADS; j += PARTS) {
            sum += scratch[start + j];
        }
        part_sums[thread] = sum;
    }
    workgroupBarrier();
    if (thread < SUMS && inside) {
        var sum = 0.0;
        for (var p = 0u; p < PARTS; p++) {
            sum += part_sums[thread * PARTS + p];
        }
        sums[row * SUMS + thread] = params.share * sum;
    }
}

fn put(v: u32, thread: u32, value: f32) {
    scratch[v * PITCH + thread] = value;
}

fn put3(v: u32, thread: u32, value: vec3<f32>) {
    put(v, thread, value.x);
    put(v + 1u, thread, value.y);
    put(v + 2u, thread, value.z);
}

// The loss and its derivatives by the relative centre and the rows of the relative rotation: sums 0 to 12.
fn put_pose(thread: u32, loss: f32, by_center: vec3<f32>, by_x: vec3<f32>, by_y: vec3<f32>, by_z: vec3<f32>) {
    put(0u, thread, loss);
    put3(1u, thread, by_center);
    put3(4u, thread, by_x);
    put3(7u, thread, by_y);
    put3(10u, thread, by_z);
}

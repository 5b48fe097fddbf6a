// An invocation for each track.
//
// Header: THREADS, CLAIM (answers are below it).

struct Params { tracks: u32, pixels: u32, keep_going: u32 }
var<immediate> params: Params;
@group(0) @binding(0) var<storage, read> known: array<u32>;
@group(0) @binding(1) var<storage, read> places: array<u32>;
@group(0) @binding(2) var<storage, read> before: array<u32>;
@group(0) @binding(3) var<storage, read> was_active: array<u32>;
@group(0) @binding(4) var<storage, read_write> after: array<u32>;
@group(0) @binding(5) var<storage, read_write> is_active: array<u32>;

@compute @workgroup_size(THREADS)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) thread: u32) {
    let track = (group.x + group.y * 32768u) * THREADS + thread;
    if (track >= params.tracks) {
        return;
    }
    var place = before[track];
    var goes_on = false;
    if (was_active[track] != 0u && places[track] < params.pixels) {
        let next = known[places[track]];
        if (next < CLAIM) {
            goes_on = params.keep_going != 0u || next != place;
            place = next;
        }
    }
    after[track] = place;
    is_active[track] = u32(goes_on);
}

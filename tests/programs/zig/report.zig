//! The report of tests/programs/__init__.py, over Zig's standard library and no C library: std.Io, std.json, an allocator and hash maps.
const std = @import("std");
const Io = std.Io;

const Channel = struct {
    count: u64 = 0,
    least: f64 = std.math.inf(f64),
    greatest: f64 = -std.math.inf(f64),
    sum: f64 = 0,
    part: std.ArrayList(u8) = .empty,
};

const Channels = std.array_hash_map.String(Channel);

const Report = struct {
    steps: u64,
    over: u64,
    parts: std.json.ArrayHashMap(u64) = .{},
    channels: std.json.ArrayHashMap(struct { count: u64, least: f64, greatest: f64, mean: f64 }) = .{},
    waited: bool,
};

pub fn main(init: std.process.Init) !void {
    const io, const arena = .{ init.io, init.arena.allocator() };
    const root = Io.Dir.cwd();
    var channels: Channels = .empty;
    var told: Report = .{ .over = try readSamples(io, arena, root, &channels), .steps = try countStep(io, arena, root), .waited = try waits(io) };
    try keepParts(io, arena, root, &channels, &told);
    for (channels.keys(), channels.values()) |name, one| {
        const mean = one.sum / @as(f64, @floatFromInt(one.count));
        try told.channels.map.put(arena, name, .{ .count = one.count, .least = one.least, .greatest = one.greatest, .mean = mean });
    }
    var buffer: [4096]u8 = undefined;
    var out = Io.File.stdout().writerStreaming(io, &buffer);
    try std.json.Stringify.value(told, .{}, &out.interface);
    try out.interface.writeByte('\n');
    try out.interface.flush();
}

fn readSamples(io: Io, arena: std.mem.Allocator, root: Io.Dir, channels: *Channels) !u64 {
    const above = try readThreshold(io, arena, root);
    const file = try root.createFile(io, "out/derived.csv", .{});
    defer file.close(io);
    var out_buffer: [4096]u8 = undefined;
    var derived = file.writerStreaming(io, &out_buffer);
    try derived.interface.writeAll("time,channel,value\n");

    var in_buffer: [4096]u8 = undefined;
    var in = Io.File.stdin().readerStreaming(io, &in_buffer);
    _ = try in.interface.takeDelimiter('\n');
    var over: u64 = 0;
    while (try in.interface.takeDelimiter('\n')) |line| {
        var cells = std.mem.splitScalar(u8, line, ',');
        const time, const name, const text = .{ cells.next() orelse "", cells.next() orelse "", cells.next() orelse "" };
        const value = try std.fmt.parseFloat(f64, text);
        const found = try channels.getOrPut(arena, name);
        if (!found.found_existing) {
            found.key_ptr.* = try arena.dupe(u8, name);
            found.value_ptr.* = .{};
        }
        const channel = found.value_ptr;
        channel.count += 1;
        channel.least = @min(channel.least, value);
        channel.greatest = @max(channel.greatest, value);
        channel.sum += value;
        try channel.part.print(arena, "{s}\n", .{text});
        if (above) |limit| if (value > limit) {
            try derived.interface.print("{s},{s}.over,{s}\n", .{ time, name, text });
            over += 1;
        };
    }
    try derived.interface.flush();
    return over;
}

fn readThreshold(io: Io, arena: std.mem.Allocator, root: Io.Dir) !?f64 {
    const text = root.readFileAlloc(io, "in/params.json", arena, .limited(4096)) catch |err| switch (err) {
        error.FileNotFound => return null,
        else => return err,
    };
    return (try std.json.parseFromSliceLeaky(struct { above: ?f64 = null }, arena, text, .{})).above;
}

fn countStep(io: Io, arena: std.mem.Allocator, root: Io.Dir) !u64 {
    const before = root.readFileAlloc(io, "state/in", arena, .limited(64)) catch |err| switch (err) {
        error.FileNotFound => "0",
        else => return err,
    };
    const steps = try std.fmt.parseInt(u64, std.mem.trim(u8, before, "\n"), 10) + 1;
    try root.writeFile(io, .{ .sub_path = "state/out", .data = try std.fmt.allocPrint(arena, "{d}\n", .{steps}) });
    return steps;
}

/// Writes a file for each channel, renames it, and tells what the folder holds then.
fn keepParts(io: Io, arena: std.mem.Allocator, root: Io.Dir, channels: *Channels, told: *Report) !void {
    try root.createDirPath(io, "tmp/parts");
    var folder = try root.openDir(io, "tmp/parts", .{ .iterate = true });
    for (channels.keys(), channels.values()) |name, one| {
        const stem = try std.mem.replaceOwned(u8, arena, name, "/", ".");
        const from = try std.mem.concat(arena, u8, &.{ stem, ".part" });
        try folder.writeFile(io, .{ .sub_path = from, .data = one.part.items });
        try folder.rename(from, folder, try std.mem.concat(arena, u8, &.{ stem, ".txt" }), io);
    }
    var entries = folder.iterate();
    while (try entries.next(io)) |entry| {
        const status = try folder.statFile(io, entry.name, .{});
        try told.parts.map.put(arena, try arena.dupe(u8, entry.name), status.size);
    }
    folder.close(io);
    try root.deleteTree(io, "tmp/parts");
}

fn waits(io: Io) !bool {
    const pause: Io.Duration = .fromMilliseconds(50);
    const began = Io.Clock.awake.now(io);
    try io.sleep(pause, .awake);
    return began.durationTo(Io.Clock.awake.now(io)).nanoseconds >= pause.nanoseconds;
}

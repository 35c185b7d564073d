// A ZIP file without compression: pictures are compressed already. Names are UTF-8.

const TABLE = new Uint32Array(256).map((_, number) => {
  let value = number;
  for (let bit = 0; bit < 8; bit += 1) value = value & 1 ? 0xedb88320 ^ (value >>> 1) : value >>> 1;
  return value;
});

export function crc32(bytes) {
  let value = 0xffffffff;
  for (const byte of bytes) value = TABLE[(value ^ byte) & 255] ^ (value >>> 8);
  return (value ^ 0xffffffff) >>> 0;
}

function record(size, fields) {
  const view = new DataView(new ArrayBuffer(size));
  let at = 0;
  for (const [width, value] of fields) {
    if (width === 2) view.setUint16(at, value, true);
    else view.setUint32(at, value, true);
    at += width;
  }
  return new Uint8Array(view.buffer);
}

// files: [{name, bytes}], of fewer than 4 GB together.
export function zip(files) {
  const parts = [];
  const entries = [];
  let offset = 0;
  for (const { name, bytes } of files) {
    const named = new TextEncoder().encode(name);
    // version 2.0, UTF-8 names, stored, 1 January 1980
    const shared = [[2, 20], [2, 0x800], [2, 0], [2, 0], [2, 33], [4, crc32(bytes)], [4, bytes.length],
      [4, bytes.length], [2, named.length], [2, 0]];
    const head = record(30, [[4, 0x04034b50], ...shared]);
    parts.push(head, named, bytes);
    entries.push(record(46, [[4, 0x02014b50], [2, 20], ...shared, [2, 0], [2, 0], [2, 0], [4, 0], [4, offset]]), named);
    offset += head.length + named.length + bytes.length;
  }
  const size = entries.reduce((sum, part) => sum + part.length, 0);
  const count = files.length;
  const end = record(22, [[4, 0x06054b50], [2, 0], [2, 0], [2, count], [2, count], [4, size], [4, offset], [2, 0]]);
  return new Blob([...parts, ...entries, end], { type: "application/zip" });
}

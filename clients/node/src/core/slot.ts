const TABLE = new Uint16Array(256).map((_, byte) => {
    let crc = byte << 8;
    for (let bit = 0; bit < 8; bit++) crc = crc & 0x8000 ? (crc << 1) ^ 0x1021 : crc << 1;
    return crc;
});

/** The slot of a key in a cluster: CRC16 of the key, or of what stands between its first `{` and the next `}`. */
export function keySlot(key: string | Buffer): number {
    let bytes = typeof key === 'string' ? Buffer.from(key) : key;
    const open = bytes.indexOf('{');
    if (open >= 0) {
        const close = bytes.indexOf('}', open + 1);
        if (close > open + 1) bytes = bytes.subarray(open + 1, close);
    }
    let crc = 0;
    for (const byte of bytes) crc = ((crc << 8) & 0xffff) ^ (TABLE[((crc >> 8) ^ byte) & 0xff] as number);
    return crc & 0x3fff;
}

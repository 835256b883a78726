//! Connections that are made up, packet by packet.

/// A TCP segment before it is wrapped.
#[derive(Clone, Debug)]
pub(super) struct Segment {
    pub(super) from_client: bool,
    pub(super) client_port: u16,
    pub(super) flags: u8,
    pub(super) sequence: u32,
    pub(super) acknowledgment: u32,
    pub(super) payload: Vec<u8>,
}

pub(super) const FIN: u8 = 0x01;
pub(super) const SYN: u8 = 0x02;
pub(super) const RST: u8 = 0x04;
pub(super) const ACK: u8 = 0x10;

/// A connection under way.
#[derive(Clone, Debug)]
pub(super) struct Talk {
    pub(super) segments: Vec<Segment>,
    pub(super) client_port: u16,
    /// What the client and the server send next.
    next: [u32; 2],
}

impl Talk {
    /// A connection with its handshake.
    pub(super) fn open(client_port: u16, sequence: u32) -> Self {
        let mut talk = Self::midway(client_port, sequence);
        talk.send(true, SYN, b"");
        talk.send(false, SYN | ACK, b"");
        talk.send(true, ACK, b"");
        talk
    }

    /// A connection whose handshake is not in the capture.
    pub(super) fn midway(client_port: u16, sequence: u32) -> Self {
        let next = [sequence, sequence.wrapping_add(1_000_000)];
        Self { segments: Vec::new(), client_port, next }
    }

    pub(super) fn send(&mut self, from_client: bool, flags: u8, payload: &[u8]) -> &mut Self {
        let (own, other) = if from_client { (0, 1) } else { (1, 0) };
        let length = payload.len() as u32 + u32::from(flags & (SYN | FIN) != 0);
        self.segments.push(Segment {
            from_client,
            client_port: self.client_port,
            flags,
            sequence: self.next[own],
            acknowledgment: if flags & ACK == 0 { 0 } else { self.next[other] },
            payload: payload.to_vec(),
        });
        self.next[own] = self.next[own].wrapping_add(length);
        self
    }

    pub(super) fn client(&mut self, text: &str) -> &mut Self {
        self.send(true, ACK, text.as_bytes())
    }

    pub(super) fn server(&mut self, text: &str) -> &mut Self {
        self.send(false, ACK, text.as_bytes())
    }

    /// Both ends close, and acknowledge that.
    pub(super) fn close(&mut self) -> &mut Self {
        self.send(false, FIN | ACK, b"").send(true, FIN | ACK, b"").send(false, ACK, b"")
    }
}

impl Segment {
    fn tcp(&self) -> Vec<u8> {
        let ports = if self.from_client { [self.client_port, 80] } else { [80, self.client_port] };
        let mut bytes: Vec<u8> = ports.into_iter().flat_map(u16::to_be_bytes).collect();
        bytes.extend(self.sequence.to_be_bytes());
        bytes.extend(self.acknowledgment.to_be_bytes());
        // Four bytes of options: what is behind the header must not be taken for payload.
        bytes.extend([0x60, self.flags, 0xff, 0xff, 0, 0, 0, 0, 1, 1, 1, 0]);
        bytes.extend(&self.payload);
        bytes
    }

    pub(super) fn ipv4(&self) -> Vec<u8> {
        self.fragment_of_ipv4(0..usize::MAX, 0)
    }

    /// A piece of the packet; its start must be a multiple of eight.
    pub(super) fn fragment_of_ipv4(&self, range: std::ops::Range<usize>, id: u16) -> Vec<u8> {
        let whole = self.tcp();
        let end = range.end.min(whole.len());
        let piece = &whole[range.start..end];
        let more = if end < whole.len() { 0x2000 } else { 0 };
        let mut bytes = vec![0x45, 0];
        bytes.extend((20 + piece.len() as u16).to_be_bytes());
        bytes.extend(id.to_be_bytes());
        bytes.extend((more | (range.start / 8) as u16).to_be_bytes());
        bytes.extend([64, 6, 0, 0]);
        let (client, server) = ([10, 0, 0, 1], [10, 0, 0, 2]);
        let ends = if self.from_client { [client, server] } else { [server, client] };
        bytes.extend(ends.concat());
        bytes.extend(piece);
        bytes
    }

    /// With a hop-by-hop header, which must be passed over.
    pub(super) fn ipv6(&self) -> Vec<u8> {
        let tcp = self.tcp();
        let mut bytes = vec![0x60, 0, 0, 0];
        bytes.extend((8 + tcp.len() as u16).to_be_bytes());
        bytes.extend([0, 64]);
        let (mut client, mut server) = ([0x20; 16], [0x20; 16]);
        (client[15], server[15]) = (1, 2);
        let ends = if self.from_client { [client, server] } else { [server, client] };
        bytes.extend(ends.concat());
        bytes.extend([6, 0, 1, 4, 0, 0, 0, 0]);
        bytes.extend(tcp);
        bytes
    }
}

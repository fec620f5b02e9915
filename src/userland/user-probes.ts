/** The part of `User` about the kernel's own looks into processes: BPF programs, uprobes, core dumps. */
import { DeviceUser } from './user-devices.ts';

export class ProbeUser extends DeviceUser {}

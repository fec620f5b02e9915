/** The part of `User` about memory of devices and devices that use memory: mappings of I/O memory, device-exclusive pages, KVM's page faults. */
import { PinUser } from './user-pins.ts';

export class DeviceUser extends PinUser {}

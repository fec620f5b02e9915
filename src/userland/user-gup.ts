/** The part of `User` about get_user_pages by the kernel itself: gup_test and its like. */
import { MappingUser } from './user-mappings.ts';

export class GupUser extends MappingUser {}

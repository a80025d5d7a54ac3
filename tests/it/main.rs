mod file_rotation;
